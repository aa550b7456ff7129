"""The control room: second factor, roles and scopes, tokens, drafts, audit chain, acknowledged alarms, SIP traces."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), server_default="", nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False)


# What records are searched by (ADR 0606).
_SEARCHED = ("plan", "iccid", "called", "calling")


def upgrade() -> None:
    _columns()
    for name in _SEARCHED:
        op.create_index(f"ix_cdr_{name}_started", "cdr", [name, "started"])
    _accounts()
    _facts()
    # What the controller may know of accounts: no password, no second factor (store/rights.py).
    op.execute("CREATE VIEW account AS SELECT id, name, role, disabled, scope FROM web_user")


def _add(table: str, *columns: sa.Column[Any]) -> None:
    for column in columns:
        op.add_column(table, column)


def _columns() -> None:
    _add("alarm", sa.Column("acknowledged", _TIME), _text("acknowledged_by"), _text("note"))
    _add("config_version", sa.Column("parent", sa.Integer()), _text("note"), sa.Column("changes", sa.Text()))
    _add(
        "web_user",
        _text("email"), sa.Column("scope", sa.JSON()), sa.Column("hidden", sa.JSON()), _text("totp_secret"),
        sa.Column("totp_since", _TIME), sa.Column("totp_step", sa.BigInteger()), _flag("must_change"),
    )  # fmt: skip
    _add(
        "web_session",
        _text("public"), sa.Column("kind", sa.String(), server_default="browser", nullable=False), _text("name"),
        sa.Column("rights", sa.JSON()), sa.Column("eyes", _ROW_ID), _flag("half"),
    )  # fmt: skip
    # Sessions and tokens of before: a name to revoke them by, and tokens known as such.
    op.execute("UPDATE web_session SET public = substr(token_hash, 1, 12)")
    op.execute("UPDATE web_session SET kind = 'token', name = agent WHERE address = 'api'")


def _accounts() -> None:
    op.create_table(
        "web_recovery",
        sa.Column("user_id", _ROW_ID, nullable=False),
        sa.Column("code_hash", sa.String(), nullable=False),
        sa.Column("used", _TIME),
        sa.ForeignKeyConstraint(["user_id"], ["web_user.id"], name="fk_web_recovery_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name="pk_web_recovery"),
    )
    op.create_table(
        "web_try",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_web_try"),
    )
    op.create_index("ix_web_try_key", "web_try", ["key"])
    op.create_table(
        "web_act",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        _text("address"),
        sa.Column("action", sa.String(), nullable=False),
        _text("subject"),
        sa.Column("detail", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_web_act"),
    )
    op.create_table(
        "web_answer",
        sa.Column("user_id", _ROW_ID, autoincrement=False, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("body", sa.Text()),
        sa.ForeignKeyConstraint(["user_id"], ["web_user.id"], name="fk_web_answer_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "key", name="pk_web_answer"),
    )
    op.create_table(
        "web_draft",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("changed", _TIME, nullable=False),
        _text("note"),
        sa.Column("changes", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), server_default="open", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_web_draft"),
    )
    op.create_table(
        "web_route_test",
        sa.Column("id", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("called", sa.String(), nullable=False),
        _text("calling"),
        sa.Column("expected", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_web_route_test"),
        sa.UniqueConstraint("name", name="uq_web_route_test_name"),
    )


def _facts() -> None:
    op.create_table(
        "config_setting",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["config_version.version"], name="fk_config_setting_version"),
        sa.PrimaryKeyConstraint("version", "position", name="pk_config_setting"),
    )
    op.create_index("ix_config_setting_name", "config_setting", ["version", "name"])
    op.create_table(
        "audit",
        sa.Column("seq", _ROW_ID, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        _text("address"),
        sa.Column("action", sa.String(), nullable=False),
        _text("subject"),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("source", sa.String()),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
        sa.UniqueConstraint("source", name="uq_audit_source"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_subject", "audit", ["subject"])
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    op.create_table(
        "call_trace",
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("started", _TIME, nullable=False),
        sa.Column("messages", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("call", name="pk_call_trace"),
    )
    op.create_index("ix_call_trace_started", "call_trace", ["started"])
