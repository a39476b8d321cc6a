"""Alembic's environment: one history of revisions for both databases, shipped inside the package."""
