"""Aliases in the compatible API (its sections 7.4 and 7.5)."""
