"""The database: tables, migrations, the one writer, queries."""
