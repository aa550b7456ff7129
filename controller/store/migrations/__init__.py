"""Steps that bring an older database to this release, in order (Alembic)."""
