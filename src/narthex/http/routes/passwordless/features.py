"""What an application switches on and off by itself (the compatible API, section 7.16)."""
