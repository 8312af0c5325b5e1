"""The gate: prototypes of every character, the routing of probes on the day of onboarding, and the gate's versions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "prototype",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("character_id", sa.Integer, sa.ForeignKey("character.id"), nullable=False, index=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("kind IN ('persona', 'fact', 'prompt')", name="kind_is_known"),
    )
    op.create_table(
        "gate",
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("encoder", sa.String, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("one_active_gate", "gate", ["active"], unique=True, sqlite_where=sa.text("active"))
    op.add_column("probe", sa.Column("routed", sa.String))
    op.add_column("probe", sa.Column("vector", sa.LargeBinary))
