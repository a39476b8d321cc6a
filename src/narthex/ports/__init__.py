"""What the house asks of the outside: records, changes, and the protocols that adapters fulfil."""
