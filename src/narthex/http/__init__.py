"""The edge: HTTP in, HTTP out. Decides who asks, reads the body, calls one use case, writes the answer."""
