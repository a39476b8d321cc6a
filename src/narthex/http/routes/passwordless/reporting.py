"""Daily reports in the compatible API (its section 7.15)."""
