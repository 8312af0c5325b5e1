"""First tables: banks, characters with their ranges, handles, probes, lineage, certificates.

The database itself refuses overlapping live ranges, ranges outside the capacity, and ready characters without a block.
Live ranges of a bank never overlap, so a new one needs comparing only with the live range that starts last before its
stop: the triggers cost O(log n) through the partial index.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

LIVE = "status IN ('reserved', 'ready')"


def upgrade() -> None:
    op.create_table(
        "bank",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("base", sa.String, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False, unique=True),
        sa.Column("capacity", sa.Integer, sa.CheckConstraint("capacity > 0"), nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_table(
        "character",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("bank_id", sa.Integer, sa.ForeignKey("bank.id"), nullable=False, index=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("stop", sa.Integer, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("strategy", sa.String, nullable=False),
        sa.Column("lease_pid", sa.Integer),
        sa.Column("lease_host", sa.String),
        sa.Column("lease_born", sa.Float),
        sa.Column("lease_expires", sa.Float),
        sa.Column("block", sa.String),
        sa.Column("description", sa.JSON, nullable=False),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("environment", sa.JSON, nullable=False),
        sa.Column("data_digests", sa.JSON, nullable=False),
        sa.Column("system_message", sa.String, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("role_embedding", sa.LargeBinary),
        sa.Column("encoder", sa.String),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("removed_at", sa.String),
        sa.CheckConstraint("0 <= start AND start < stop", name="range_is_half_open"),
        sa.CheckConstraint("status IN ('reserved', 'ready', 'removed')", name="status_is_known"),
        sa.CheckConstraint("status <> 'ready' OR (block IS NOT NULL AND length(block) = 64)", name="ready_has_a_block"),
        sqlite_autoincrement=True,  # a number is never used again: a lost reservation cannot become somebody else's
    )
    op.create_index("live_ranges", "character", ["bank_id", "start", "stop"], sqlite_where=sa.text(LIVE))
    reserved = sa.text("status = 'reserved'")
    op.create_index("reservations", "character", ["lease_pid", "lease_host", "lease_born"], sqlite_where=reserved)
    op.create_table(
        "handle",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("character_id", sa.Integer, sa.ForeignKey("character.id"), nullable=False, index=True),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("is_name", sa.Boolean, nullable=False),
    )
    op.create_table(
        "probe",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("character_id", sa.Integer, sa.ForeignKey("character.id"), nullable=False, index=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("prompt", sa.JSON, nullable=False),
        sa.Column("reference", sa.String, nullable=False),
        sa.Column("nll", sa.Float, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("reply", sa.JSON, nullable=False),
        sa.Column("reply_text", sa.String, nullable=False),
    )
    op.create_table(
        "parent",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("character_id", sa.Integer, sa.ForeignKey("character.id"), nullable=False, index=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("block", sa.String, nullable=False),
        sa.Column("weight", sa.Float, nullable=False),
    )
    op.create_table(
        "certificate",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("character_id", sa.Integer, sa.ForeignKey("character.id"), nullable=False, index=True),
        sa.Column("others", sa.Integer, nullable=False),
        sa.Column("identical", sa.Integer, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    for event in ("INSERT", "UPDATE OF bank_id, start, stop, status"):
        _guard_ranges(event)
    op.execute(
        f"""CREATE TRIGGER capacity_covers_ranges BEFORE UPDATE OF capacity ON bank
        WHEN EXISTS (SELECT 1 FROM character WHERE bank_id = NEW.id AND {LIVE} AND stop > NEW.capacity)
        BEGIN SELECT RAISE(ABORT, 'capacity would cut off a live range'); END"""
    )


def _guard_ranges(event: str) -> None:
    suffix = event.split()[0].lower()
    op.execute(
        f"""CREATE TRIGGER no_overlap_on_{suffix} BEFORE {event} ON character
        WHEN NEW.{LIVE} AND NEW.start < COALESCE((
            SELECT stop FROM character
            WHERE bank_id = NEW.bank_id AND {LIVE} AND start < NEW.stop AND id IS NOT NEW.id
            ORDER BY start DESC LIMIT 1), 0)
        BEGIN SELECT RAISE(ABORT, 'live rank ranges overlap'); END"""
    )
    op.execute(
        f"""CREATE TRIGGER within_capacity_on_{suffix} BEFORE {event} ON character
        WHEN NEW.{LIVE} AND NEW.stop > (SELECT capacity FROM bank WHERE id = NEW.bank_id)
        BEGIN SELECT RAISE(ABORT, 'rank range lies outside the capacity'); END"""
    )
