"""The event log in the compatible API (its section 7.14), with filters, exports and a stream."""
