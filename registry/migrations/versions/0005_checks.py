"""What a check compares with: a seal over each character's records, readings of who is how since when, and by which
gate a probe was last routed. Who moved in before this migration is sealed as found."""

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

PROBES = "SELECT prompt, reference, nll, tokens, reply FROM probe WHERE character_id = :owner ORDER BY position"


def upgrade() -> None:
    op.add_column("character", sa.Column("seal", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("probe", sa.Column("routed_by", sa.Integer))
    op.execute("UPDATE probe SET routed_by = (SELECT version FROM gate WHERE active) WHERE routed IS NOT NULL")
    op.create_table(
        "reading",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("character_id", sa.Integer, sa.ForeignKey("character.id"), nullable=False, index=True),
        sa.Column("revision", sa.Integer, sa.ForeignKey("revision.number"), nullable=False),
        sa.Column("probes", sa.Integer, nullable=False),
        sa.Column("nll", sa.Float, nullable=False),
        sa.Column("baseline", sa.Float, nullable=False),
        sa.Column("replies_identical", sa.Integer),
        sa.Column("found", sa.Integer),
        sa.Column("distinctness", sa.JSON, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    _seal_everybody(op.get_bind())


def _seal_everybody(connection: sa.Connection) -> None:
    people = connection.execute(sa.text("SELECT id, block, name, system_message, seed, recipe FROM character"))
    for owner, block, name, system_message, seed, recipe in people.all():
        probes = connection.execute(sa.text(PROBES), {"owner": owner})
        asked, answered = [], []
        for prompt, reference, nll, tokens, reply in probes:
            asked.append([json.loads(prompt), reference])
            answered.append([nll, tokens, json.loads(reply)])
        seal = {"block": block, "files": {}, "record": _digest([name, system_message, seed, json.loads(recipe)]),
                "probes": _digest(asked), "baseline": _digest(answered)}  # fmt: skip
        if block is not None:
            connection.execute(sa.text("UPDATE character SET seal = :seal WHERE id = :owner"),
                               {"seal": json.dumps(seal), "owner": owner})  # fmt: skip


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
