"""Open calls keep what a later run of the controller needs to go on with them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("open_call", sa.Column("box_boot", sa.String(), server_default="", nullable=False))
    op.add_column("open_call", sa.Column("kept", sa.Text(), nullable=True))
