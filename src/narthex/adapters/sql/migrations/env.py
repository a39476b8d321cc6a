"""How Alembic runs a revision here: it renders SQL for one dialect, and `narthex.adapters.sql.migrate` executes it.

So migrating needs no driver but the two we serve with. The price: a revision cannot look at the database; what
it does to rows, it says in SQL or, where no SQL can, in a `fill`.
"""

from __future__ import annotations

from alembic import context

context.configure(
    dialect_name=context.config.attributes["dialect"],
    dialect_opts={"paramstyle": "named"},
    output_buffer=context.config.attributes["output"],
    literal_binds=True,
)
context.run_migrations()
