"""One function for each thing the service does. What is impure hangs on the call."""
