"""Revisions: who moved in and out, in order; what came before this migration is read from the characters' dates."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "revision",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("character_id", sa.Integer, sa.ForeignKey("character.id")),
        sa.Column("back_to", sa.Integer),
        sa.Column("gate_before", sa.Integer),
        sa.Column("created_at", sa.String, nullable=False),
        sa.CheckConstraint("kind IN ('moved in', 'moved out', 'rolled back')", name="kind_is_known"),
        sa.CheckConstraint("(kind = 'rolled back') = (back_to IS NOT NULL)", name="a_rollback_goes_somewhere"),
        sa.CheckConstraint("(kind = 'rolled back') = (character_id IS NULL)", name="a_move_is_somebodys"),
        sqlite_autoincrement=True,
    )
    op.execute(
        """INSERT INTO revision (kind, character_id, gate_before, created_at)
        SELECT kind, id, (SELECT max(version) FROM gate WHERE gate.created_at < moved.at), at FROM (
            SELECT 'moved in' AS kind, id, created_at AS at FROM character WHERE status IN ('ready', 'removed')
            UNION ALL
            SELECT 'moved out', id, removed_at FROM character WHERE status = 'removed'
        ) AS moved ORDER BY at, kind"""
    )
