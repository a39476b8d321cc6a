"""The ground floor: errors and values that every room may use."""
