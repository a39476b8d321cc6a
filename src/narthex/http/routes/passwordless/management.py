"""The life of an application and of its keys, in the compatible management API (its section 8)."""
