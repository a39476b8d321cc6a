"""Moving applications in and out."""
