"""First tables."""

import sqlalchemy as sa
from alembic import op

from simrack.controller.store.types import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _alarm()
    _attempt()
    _box_event_seen()
    _call_story()
    _cdr()
    _config_version()
    _open_call()
    _setup_link()
    _web_user()
    _config_active()
    _config_agreement()
    _config_installation()
    _config_limit()
    _config_pattern()
    _config_plan()
    _config_sender()
    _config_sim()
    _config_site()
    _web_session()


def _alarm() -> None:
    op.create_table(
        "alarm",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("advice", sa.String(), server_default="", nullable=False),
        sa.Column("opened", UtcTime(), nullable=False),
        sa.Column("last", UtcTime(), nullable=False),
        sa.Column("closed", UtcTime(), nullable=True),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.create_index(
        "uq_alarm_open_cause",
        "alarm",
        ["cause"],
        unique=True,
        sqlite_where=sa.text("closed IS NULL"),
        postgresql_where=sa.text("closed IS NULL"),
    )


def _attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("box", sa.String(), server_default="", nullable=False),
        sa.Column("channel", sa.Integer(), nullable=False),
        sa.Column("iccid", sa.String(), server_default="", nullable=False),
        sa.Column("started", UtcTime(), nullable=False),
        sa.Column("ended", UtcTime(), nullable=True),
        sa.Column("cause", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cause_text", sa.String(), server_default="", nullable=False),
        sa.Column("outcome", sa.String(), server_default="", nullable=False),
        sa.Column("talk_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at_log", sa.Text(), nullable=True),
        sa.Column("media", sa.Text(), nullable=True),
        sa.Column("part", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("attempt", name=op.f("pk_attempt")),
    )
    op.create_index(op.f("ix_attempt_call"), "attempt", ["call"], unique=False)


def _box_event_seen() -> None:
    op.create_table(
        "box_event_seen",
        sa.Column("box", sa.String(), nullable=False),
        sa.Column("boot", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("received", UtcTime(), nullable=False),
        sa.Column("call", sa.String(), nullable=True),
        sa.Column("attempt", sa.String(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("box", "boot", "seq", name=op.f("pk_box_event_seen")),
    )
    op.create_index("ix_box_event_seen_attempt", "box_event_seen", ["attempt"], unique=False)


def _call_story() -> None:
    op.create_table(
        "call_story",
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("ladder", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("call", name=op.f("pk_call_story")),
    )


def _cdr() -> None:
    op.create_table(
        "cdr",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("sender", sa.String(), server_default="", nullable=False),
        sa.Column("sip_call_id", sa.String(), server_default="", nullable=False),
        sa.Column("from_tag", sa.String(), server_default="", nullable=False),
        sa.Column("calling_received", sa.String(), server_default="", nullable=False),
        sa.Column("calling", sa.String(), server_default="", nullable=False),
        sa.Column("called_received", sa.String(), server_default="", nullable=False),
        sa.Column("called", sa.String(), server_default="", nullable=False),
        sa.Column("dialled", sa.String(), server_default="", nullable=False),
        sa.Column("started", UtcTime(), nullable=False),
        sa.Column("alerting", UtcTime(), nullable=True),
        sa.Column("answered", UtcTime(), nullable=True),
        sa.Column("ended", UtcTime(), nullable=False),
        sa.Column("setup_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ring_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("talk_network_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("talk_sender_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("cause", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cause_original", sa.String(), server_default="", nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("sip_status", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refusal", sa.String(), server_default="", nullable=False),
        sa.Column("box", sa.String(), server_default="", nullable=False),
        sa.Column("channel", sa.Integer(), nullable=True),
        sa.Column("iccid", sa.String(), server_default="", nullable=False),
        sa.Column("imsi", sa.String(), server_default="", nullable=False),
        sa.Column("plan", sa.String(), server_default="", nullable=False),
        sa.Column("pattern", sa.String(), server_default="", nullable=False),
        sa.Column("ingress", sa.String(), server_default="", nullable=False),
        sa.Column("egress", sa.String(), server_default="", nullable=False),
        sa.Column("codec", sa.String(), server_default="", nullable=False),
        sa.Column("mos", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("estimated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("marks", sa.JSON(), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cdr")),
        sa.UniqueConstraint("call", name=op.f("uq_cdr_call")),
    )
    op.create_index("ix_cdr_box_started", "cdr", ["box", "started"], unique=False)
    op.create_index(
        "ix_cdr_figures",
        "cdr",
        ["started", "direction", "outcome", "talk_network_ms", "setup_ms"],
        unique=False,
    )
    op.create_index("ix_cdr_sender_started", "cdr", ["sender", "started"], unique=False)


def _config_version() -> None:
    op.create_table(
        "config_version",
        sa.Column("version", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created", UtcTime(), nullable=False),
        sa.Column("activated", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_config_version")),
    )


def _open_call() -> None:
    op.create_table(
        "open_call",
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("sender", sa.String(), server_default="", nullable=False),
        sa.Column("calling_received", sa.String(), server_default="", nullable=False),
        sa.Column("calling", sa.String(), server_default="", nullable=False),
        sa.Column("called_received", sa.String(), server_default="", nullable=False),
        sa.Column("called", sa.String(), server_default="", nullable=False),
        sa.Column("ingress", sa.String(), server_default="", nullable=False),
        sa.Column("sip_call_id", sa.String(), server_default="", nullable=False),
        sa.Column("from_tag", sa.String(), server_default="", nullable=False),
        sa.Column("started", UtcTime(), nullable=False),
        sa.Column("answered", UtcTime(), nullable=True),
        sa.Column("attempt", sa.String(), server_default="", nullable=False),
        sa.Column("box", sa.String(), server_default="", nullable=False),
        sa.Column("channel", sa.Integer(), nullable=True),
        sa.Column("iccid", sa.String(), server_default="", nullable=False),
        sa.Column("plan", sa.String(), server_default="", nullable=False),
        sa.Column("pattern", sa.String(), server_default="", nullable=False),
        sa.Column("sender_dialog", sa.JSON(), nullable=True),
        sa.Column("box_dialog", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("call", name=op.f("pk_open_call")),
        sa.UniqueConstraint("sender", "sip_call_id", "from_tag", name=op.f("uq_open_call_sender")),
    )


def _setup_link() -> None:
    op.create_table(
        "setup_link",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("created", UtcTime(), nullable=False),
        sa.Column("expires", UtcTime(), nullable=True),
        sa.Column("used", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_setup_link")),
    )


def _web_user() -> None:
    op.create_table(
        "web_user",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("role", sa.String(), server_default="administrator", nullable=False),
        sa.Column("created", UtcTime(), nullable=False),
        sa.Column("last_login", UtcTime(), nullable=True),
        sa.Column("disabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_user")),
        sa.UniqueConstraint("name", name=op.f("uq_web_user_name")),
    )


def _config_active() -> None:
    op.create_table(
        "config_active",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("activated", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["config_version.version"], name=op.f("fk_config_active_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_active")),
    )


def _config_agreement() -> None:
    op.create_table(
        "config_agreement",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["config_version.version"], name=op.f("fk_config_agreement_version")
        ),
        sa.PrimaryKeyConstraint("version", "position", name=op.f("pk_config_agreement")),
    )
    op.create_index("ix_config_agreement_name", "config_agreement", ["version", "name"], unique=False)


def _config_installation() -> None:
    op.create_table(
        "config_installation",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["config_version.version"], name=op.f("fk_config_installation_version")
        ),
        sa.PrimaryKeyConstraint("version", "position", name=op.f("pk_config_installation")),
    )
    op.create_index("ix_config_installation_name", "config_installation", ["version", "name"], unique=False)


def _config_limit() -> None:
    op.create_table(
        "config_limit",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["config_version.version"], name=op.f("fk_config_limit_version")
        ),
        sa.PrimaryKeyConstraint("version", "position", name=op.f("pk_config_limit")),
    )
    op.create_index("ix_config_limit_name", "config_limit", ["version", "name"], unique=False)


def _config_pattern() -> None:
    op.create_table(
        "config_pattern",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["config_version.version"], name=op.f("fk_config_pattern_version")
        ),
        sa.PrimaryKeyConstraint("version", "position", name=op.f("pk_config_pattern")),
    )
    op.create_index("ix_config_pattern_name", "config_pattern", ["version", "name"], unique=False)


def _config_plan() -> None:
    op.create_table(
        "config_plan",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["config_version.version"], name=op.f("fk_config_plan_version")),
        sa.PrimaryKeyConstraint("version", "position", name=op.f("pk_config_plan")),
    )
    op.create_index("ix_config_plan_name", "config_plan", ["version", "name"], unique=False)


def _config_sender() -> None:
    op.create_table(
        "config_sender",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["config_version.version"], name=op.f("fk_config_sender_version")
        ),
        sa.PrimaryKeyConstraint("version", "position", name=op.f("pk_config_sender")),
    )
    op.create_index("ix_config_sender_name", "config_sender", ["version", "name"], unique=False)


def _config_sim() -> None:
    op.create_table(
        "config_sim",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("plan", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["config_version.version"], name=op.f("fk_config_sim_version")),
        sa.PrimaryKeyConstraint("version", "position", name=op.f("pk_config_sim")),
    )
    op.create_index("ix_config_sim_name", "config_sim", ["version", "name"], unique=False)


def _config_site() -> None:
    op.create_table(
        "config_site",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["config_version.version"], name=op.f("fk_config_site_version")),
        sa.PrimaryKeyConstraint("version", "position", name=op.f("pk_config_site")),
    )
    op.create_index("ix_config_site_name", "config_site", ["version", "name"], unique=False)


def _web_session() -> None:
    op.create_table(
        "web_session",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("user_id", ROW_ID, nullable=False),
        sa.Column("created", UtcTime(), nullable=False),
        sa.Column("last_seen", UtcTime(), nullable=False),
        sa.Column("expires", UtcTime(), nullable=False),
        sa.Column("csrf", sa.String(), server_default="", nullable=False),
        sa.Column("address", sa.String(), server_default="", nullable=False),
        sa.Column("agent", sa.String(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["web_user.id"], name=op.f("fk_web_session_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_web_session")),
    )
    op.create_index(op.f("ix_web_session_user_id"), "web_session", ["user_id"], unique=False)
