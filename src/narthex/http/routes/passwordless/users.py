"""Users in the compatible API (its sections 7.8 to 7.10), with paging, search and a view of one."""
