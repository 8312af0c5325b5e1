"""The residents of a bank by number, without reading their rows: who might be a newcomer's neighbour."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    ready = sa.text("status = 'ready'")
    op.create_index("residents", "character", ["bank_id", "encoder", "id"], sqlite_where=ready)
