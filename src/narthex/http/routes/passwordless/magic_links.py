"""Sending magic links, as in the compatible API (its section 7.11)."""
