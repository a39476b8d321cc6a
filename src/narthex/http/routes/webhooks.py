"""Webhooks: where an application wants to be told of its events."""
