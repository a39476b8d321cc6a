"""The API that is compatible with Passwordless.dev: its odd casing and encodings live here and nowhere deeper."""
