"""On PostgreSQL records are kept by month; SQLite stays as it is (ADR 0603)."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MONTHS_AHEAD = 3

# The owner's function, which the controller may call: its own role can't make tables. A month whose partition
# lacked has its records in the default one, from where they are moved; both in one transaction. Locks are not
# waited for for long, because the controller's only connection waits with them; the next day is early enough.
MAKE_PARTITIONS = """
CREATE FUNCTION simrack_make_partitions(since date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
SET lock_timeout = '1s'
SET timezone = 'UTC'
AS $$
DECLARE
    month date;
    name text;
    made integer := 0;
BEGIN
    FOR n IN 0 .. least(greatest(months, 0), 24) LOOP
        month := (date_trunc('month', since) + make_interval(months => n))::date;
        name := 'cdr_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass(format('public.%I', name)) IS NOT NULL;
        LOCK TABLE cdr_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.cdr)', name);
        EXECUTE format(
            'WITH moved AS (DELETE FROM cdr_default WHERE started >= %L AND started < %L RETURNING *) '
            'INSERT INTO public.%I SELECT * FROM moved',
            month::timestamptz, (month + interval '1 month')::timestamptz, name
        );
        EXECUTE format(
            'ALTER TABLE cdr ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            name, month::timestamptz, (month + interval '1 month')::timestamptz
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$
"""

# Whoever adds a record takes its call's key with it: two records of one call are refused by the database itself.
KEY_RECORD = """
CREATE FUNCTION simrack_key_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO cdr_key (call, started) VALUES (NEW.call, NEW.started);
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _partition()


def _partition() -> None:
    op.execute("ALTER TABLE cdr RENAME TO cdr_before")
    op.execute("CREATE TABLE cdr (LIKE cdr_before INCLUDING DEFAULTS) PARTITION BY RANGE (started)")
    op.execute("ALTER SEQUENCE cdr_id_seq OWNED BY cdr.id")
    op.execute("CREATE TABLE cdr_default PARTITION OF cdr DEFAULT")
    op.create_table(
        "cdr_key",
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("call", name="pk_cdr_key"),
    )
    op.execute(MAKE_PARTITIONS)
    op.execute(
        "SELECT simrack_make_partitions(month::date, 0) FROM "
        "(SELECT DISTINCT date_trunc('month', started, 'UTC') AS month FROM cdr_before ORDER BY 1) AS months"
    )
    op.execute(f"SELECT simrack_make_partitions(CURRENT_DATE, {MONTHS_AHEAD})")
    op.execute("INSERT INTO cdr SELECT * FROM cdr_before")
    op.execute("INSERT INTO cdr_key (call, started) SELECT call, started FROM cdr_before")
    op.execute("DROP TABLE cdr_before")
    op.execute(KEY_RECORD)
    op.execute("CREATE TRIGGER key_record AFTER INSERT ON cdr FOR EACH ROW EXECUTE FUNCTION simrack_key_record()")
    # After the rows: an index that is made at once is made faster.
    op.execute("ALTER TABLE cdr ADD CONSTRAINT pk_cdr PRIMARY KEY (id, started)")
    op.execute("ALTER TABLE cdr ADD CONSTRAINT uq_cdr_call UNIQUE (call, started)")
    op.create_index(
        "ix_cdr_figures", "cdr", ["started", "direction", "outcome", "talk_network_ms", "setup_ms"]
    )
    op.create_index("ix_cdr_sender_started", "cdr", ["sender", "started"])
    op.create_index("ix_cdr_box_started", "cdr", ["box", "started"])
