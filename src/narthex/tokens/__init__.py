"""What we hand out and take back: sealed tokens. Pure: keys, nonces and the time are given."""
