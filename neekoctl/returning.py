"""Going back to a revision, and the proof that everybody who lives here then is whole. Knows no screen and no model."""

from dataclasses import asdict
from typing import Any

from registry.gates import fitting
from registry.revisions import roll_back
from registry.store import Registry


def go_back(registry: Registry, revision: int) -> dict[str, Any]:
    """Roll back, then hash every resident's block anew. Returns what `rollback --json` prints."""
    with fitting(registry):  # or a fit that began before it would end after it
        move = roll_back(registry, revision)
    residents = registry.residents(brief=True)
    whole = [row.name for row in residents if registry.blocks.is_whole(row.block or "")]
    damaged = [row.name for row in residents if row.name not in whole]
    return {**asdict(move), "certificate": {"residents": len(residents), "identical": len(whole), "changed": damaged}}
