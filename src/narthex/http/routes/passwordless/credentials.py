"""Credentials in the compatible API (its sections 7.6 and 7.7), and what it lacks."""
