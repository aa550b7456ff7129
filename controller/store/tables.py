"""Every table of the centre's database, as SQLAlchemy Core (`docs/records.md`).

Migrations (`migrations/versions/`) create them; a test compares both. The controller writes all of them but
the `web_*` and `setup_link` tables, which only `simrack web` writes. Times are UTC, durations in ms.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from simrack.controller.store.types import UtcTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives only an INTEGER primary key its own row numbers; PostgreSQL needs the larger type.
_RowId = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str) -> Column[str]:
    return Column(name, String, nullable=False, default="", server_default="")


def _number(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, default=0, server_default="0")


open_call = Table(
    "open_call",
    metadata,
    Column("call", String, primary_key=True),
    # The controller's boot id: rows of another run are what reconciliation looks at.
    Column("run", String, nullable=False),
    Column("direction", String, nullable=False),
    _text("sender"),
    _text("calling_received"),
    _text("calling"),
    _text("called_received"),
    _text("called"),
    _text("ingress"),
    # What makes a call one call: (sender, Call-ID, From tag).
    _text("sip_call_id"),
    _text("from_tag"),
    Column("started", UtcTime, nullable=False),
    Column("answered", UtcTime),
    _text("attempt"),
    _text("box"),
    Column("channel", Integer),
    _text("iccid"),
    _text("plan"),
    _text("pattern"),
    # Dialog identifiers of both legs (sip.legs.DialogIds as JSON), there before 200 is passed on.
    Column("sender_dialog", JSON),
    Column("box_dialog", JSON),
    # The run of the box that carries it, and what else a later run of the controller goes on with
    # (controller.models.KeptCall as JSON).
    _text("box_boot"),
    Column("kept", Text),
    UniqueConstraint("sender", "sip_call_id", "from_tag"),
)

cdr = Table(
    "cdr",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("call", String, nullable=False, unique=True),
    Column("direction", String, nullable=False),
    _text("sender"),
    _text("sip_call_id"),
    _text("from_tag"),
    _text("calling_received"),
    _text("calling"),
    _text("called_received"),
    _text("called"),
    _text("dialled"),
    Column("started", UtcTime, nullable=False),
    Column("alerting", UtcTime),
    Column("answered", UtcTime),
    Column("ended", UtcTime, nullable=False),
    _number("setup_ms"),
    _number("ring_ms"),
    _number("talk_network_ms"),
    _number("talk_sender_ms"),
    Column("outcome", String, nullable=False),
    _number("cause"),
    _text("cause_original"),
    Column("side", String, nullable=False),
    _number("sip_status"),
    _text("refusal"),
    _text("box"),
    Column("channel", Integer),
    _text("iccid"),
    _text("imsi"),
    _text("plan"),
    _text("pattern"),
    _text("ingress"),
    _text("egress"),
    _text("codec"),
    Column("mos", Float),
    _number("attempts"),
    Column("estimated", Boolean, nullable=False, default=False, server_default=text("false")),
    Column("marks", JSON, nullable=False),
    Column("config_version", Integer),
    # The figures of an hour are read from this index alone.
    Index("ix_cdr_figures", "started", "direction", "outcome", "talk_network_ms", "setup_ms"),
    Index("ix_cdr_sender_started", "sender", "started"),
    Index("ix_cdr_box_started", "box", "started"),
    # What people search for: a plan's and a card's calls, and a number on either side (ADR 0606).
    Index("ix_cdr_plan_started", "plan", "started"),
    Index("ix_cdr_iccid_started", "iccid", "started"),
    Index("ix_cdr_called_started", "called", "started"),
    Index("ix_cdr_calling_started", "calling", "started"),
)

# Apart from the record, so that lists stay lean and its retention may differ.
call_story = Table(
    "call_story",
    metadata,
    Column("call", String, primary_key=True),
    Column("explanation", Text),  # controller.models.Explanation as JSON, at most 4 KB
    Column("ladder", Text, nullable=False),  # list of LadderLine as JSON
)

attempt = Table(
    "attempt",
    metadata,
    Column("attempt", String, primary_key=True),
    Column("call", String, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    _text("box"),
    Column("channel", Integer, nullable=False),
    _text("iccid"),
    Column("started", UtcTime, nullable=False),
    Column("ended", UtcTime),
    _number("cause"),
    _text("cause_text"),
    _text("outcome"),
    _number("talk_ms"),
    Column("at_log", Text),  # list of wire.messages.AtLine as JSON
    Column("media", Text),  # wire.messages.MediaFigures as JSON
    # Whether the box's part has been put in: it is put in once.
    Column("part", Boolean, nullable=False, default=False, server_default=text("false")),
)

box_event_seen = Table(
    "box_event_seen",
    metadata,
    Column("box", String, primary_key=True),
    Column("boot", String, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("received", UtcTime, nullable=False),
    Column("call", String),
    Column("attempt", String),
    # The fact itself; a call part's is emptied once the record holds it.
    Column("body", Text),
    Index("ix_box_event_seen_attempt", "attempt"),
)

alarm = Table(
    "alarm",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("cause", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("title", String, nullable=False),
    _text("advice"),
    Column("opened", UtcTime, nullable=False),
    Column("last", UtcTime, nullable=False),
    Column("closed", UtcTime),
    Column("count", Integer, nullable=False, default=1, server_default="1"),
    # Somebody has it in hand: it is quiet until it closes, and says who.
    Column("acknowledged", UtcTime),
    _text("acknowledged_by"),
    _text("note"),
    # One open alarm per cause, kept by the database itself.
    Index(
        "uq_alarm_open_cause",
        "cause",
        unique=True,
        sqlite_where=text("closed IS NULL"),
        postgresql_where=text("closed IS NULL"),
    ),
)

config_version = Table(
    "config_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=True),
    Column("digest", String, nullable=False),  # SHA-256 of the imported file
    Column("source", String, nullable=False),  # its name
    Column("actor", String, nullable=False),
    Column("created", UtcTime, nullable=False),
    # Null while it is being written: such a version was never whole.
    Column("activated", UtcTime),
    # The version that it was made from, why, and what changed (list of controller.config.changes.Change as JSON).
    Column("parent", Integer),
    _text("note"),
    Column("changes", Text),
)

# One row (id 1): changing it puts a version in force.
config_active = Table(
    "config_active",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, ForeignKey("config_version.version"), nullable=False),
    Column("activated", UtcTime, nullable=False),
)


def _config_table(kind: str, *columns: Column[str]) -> Table:
    """A table of one kind of configured thing: `body` is its model as JSON, columns are what queries need."""
    return Table(
        f"config_{kind}",
        metadata,
        Column("version", Integer, ForeignKey("config_version.version"), primary_key=True, nullable=False),
        Column("position", Integer, primary_key=True, nullable=False),
        Column("name", String, nullable=False),
        *columns,
        Column("body", Text, nullable=False),
        Index(f"ix_config_{kind}_name", "version", "name"),
    )


config_installation = _config_table("installation")
config_site = _config_table("site")
config_agreement = _config_table("agreement")
config_plan = _config_table("plan")
config_sim = _config_table("sim", Column("plan", String, nullable=False))
config_sender = _config_table("sender")
# One row per prefix: a hundred thousand of them are imported in batches.
config_pattern = _config_table("pattern", Column("prefix", String, nullable=False))
config_limit = _config_table("limit")
# One row per global option that is not at its default: name and {"value": ...}.
config_setting = _config_table("setting")

CONFIG_TABLES: dict[str, Table] = {
    table.name.removeprefix("config_"): table
    for table in (
        config_installation, config_site, config_agreement, config_plan, config_sim, config_sender,
        config_pattern, config_limit, config_setting,
    )
}  # fmt: skip

web_user = Table(
    "web_user",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False, unique=True),
    Column("password_hash", String, nullable=False),  # argon2, never anything else
    Column("role", String, nullable=False, default="administrator", server_default="administrator"),
    Column("created", UtcTime, nullable=False),
    Column("last_login", UtcTime),
    Column("disabled", Boolean, nullable=False, default=False, server_default=text("false")),
    Column("settings", JSON),
    _text("email"),
    # Names of senders or owners that a scoped role sees (wire.rights.SCOPED), and field groups kept from it.
    Column("scope", JSON),
    Column("hidden", JSON),
    # The second factor's secret, encrypted (ADR 0803); `totp_since` null: not confirmed yet, not asked for.
    _text("totp_secret"),
    Column("totp_since", UtcTime),
    # The time step of the last code that was taken: a code serves once (RFC 6238 5.2).
    Column("totp_step", BigInteger),
    Column("must_change", Boolean, nullable=False, default=False, server_default=text("false")),
)

web_recovery = Table(
    "web_recovery",
    metadata,
    Column("user_id", _RowId, ForeignKey("web_user.id", ondelete="CASCADE"), primary_key=True),
    Column("code_hash", String, primary_key=True),
    Column("used", UtcTime),
)

# Wrong tries at the door, so that a restart of the control room does not free a guesser.
web_try = Table(
    "web_try",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("key", String, nullable=False, index=True),  # name:... or address:...
    Column("at", UtcTime, nullable=False),
)

web_session = Table(
    "web_session",
    metadata,
    # SHA-256 of the cookie, so that a copied database signs nobody in.
    Column("token_hash", String, primary_key=True),
    Column("user_id", _RowId, ForeignKey("web_user.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created", UtcTime, nullable=False),
    Column("last_seen", UtcTime, nullable=False),
    Column("expires", UtcTime, nullable=False),
    _text("csrf"),
    _text("address"),
    _text("agent"),
    # What lists and revocation call it; the hash is nobody's business.
    _text("public"),
    Column("kind", String, nullable=False, default="browser", server_default="browser"),  # browser | token
    _text("name"),
    # Rights of an API token, fewer than its owner's; null: all of them.
    Column("rights", JSON),
    # The account through whose eyes an administrator looks.
    Column("eyes", _RowId),
    # Name and password were right and the second factor is still to come.
    Column("half", Boolean, nullable=False, default=False, server_default=text("false")),
)

# What people did with accounts, sessions and listening: written with the act itself, chained by the controller.
web_act = Table(
    "web_act",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("actor", String, nullable=False),
    _text("address"),
    Column("action", String, nullable=False),
    _text("subject"),
    Column("detail", Text),  # JSON object
)

# Answers of the API to requests that carried an Idempotency-Key, so that a repeated one acts once.
web_answer = Table(
    "web_answer",
    metadata,
    Column("user_id", _RowId, ForeignKey("web_user.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    # SHA-256 of method, address and body: the same key with another request is a mistake of the program.
    Column("request", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    # Null while the first request is being worked on.
    Column("status", Integer),
    Column("body", Text),  # encrypted: an answer may hold a new token
)

# Changes that somebody prepares and nothing uses yet.
web_draft = Table(
    "web_draft",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("author", String, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("changed", UtcTime, nullable=False),
    _text("note"),
    Column("changes", Text, nullable=False),  # list of controller.config.changes.Change as JSON
    Column("state", String, nullable=False, default="open", server_default="open"),  # open | applied | dropped
)

# Questions to routing with the answer that people count on, asked again after each change.
web_route_test = Table(
    "web_route_test",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("created", UtcTime, nullable=False),
    Column("author", String, nullable=False),
    Column("name", String, nullable=False, unique=True),
    Column("sender", String, nullable=False),
    Column("called", String, nullable=False),
    _text("calling"),
    Column("expected", String, nullable=False),  # plan:NAME, or refused:REASON
)

# Append-only and chained: each entry holds the hash of the one before (docs/audit.md).
audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", String, nullable=False),
    _text("address"),
    Column("action", String, nullable=False),
    _text("subject"),
    Column("detail", Text, nullable=False),  # JSON object, keys sorted, no spaces: what the hash is made of
    # Where it came from when not from the controller itself ("act:12"): taken over once.
    Column("source", String, unique=True),
    Column("previous", String, nullable=False),
    Column("hash", String, nullable=False),
    Index("ix_audit_at", "at"),
    Index("ix_audit_subject", "subject"),
)

# One row (id 1): the entry that was written last. Entries that are cut off at the end are missed by it.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
)

# A call's SIP messages as they went over the wire, compressed; kept for a short time of its own.
call_trace = Table(
    "call_trace",
    metadata,
    Column("call", String, primary_key=True),
    Column("started", UtcTime, nullable=False, index=True),
    Column("messages", LargeBinary, nullable=False),
)

setup_link = Table(
    "setup_link",
    metadata,
    Column("token_hash", String, primary_key=True),
    Column("created", UtcTime, nullable=False),
    Column("expires", UtcTime),
    Column("used", UtcTime),
)
