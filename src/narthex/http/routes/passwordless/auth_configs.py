"""Authentication configurations in the compatible API (its section 7.12)."""
