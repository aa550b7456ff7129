"""Run by Alembic: the steps go over the connection that `migrate` opened, in its one transaction."""

from alembic import context

from simrack.controller.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # Our engine begins transactions itself, so SQLite takes part in them with its schema as well.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
