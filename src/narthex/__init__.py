"""Narthex: a passkey server and a policy decision point, kept apart on purpose."""

__version__ = "0.1.0"
