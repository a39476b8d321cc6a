"""What the server remembers of itself."""

from __future__ import annotations

from narthex.adapters.sql.statement import RootStatement

FIND = RootStatement("select value from server_fact where name = :name")
KEEP = RootStatement("insert into server_fact (name, value) values (:name, :value) on conflict do nothing")
# Asks nothing, but of a table of ours: a database that was never migrated cannot serve.
PING = RootStatement("select 1 from server_fact where name = :name")
