"""What is told of a cohort. Knows rows and files' digests; no model and no screen."""

from __future__ import annotations

from typing import Any

from registry.cohorts import is_whole
from registry.names import fold
from registry.store import Registry
from registry.tables import Character, Cohort

COLLAPSED = 0.95  # mean cosine between characters' halves from which the network writes one half for all


def described(registry: Registry, row: Cohort) -> dict[str, Any]:
    """What `cohort show --json` prints."""
    here = {fold(each.name): each for each in registry.residents()}
    likeness = row.metrics.get("likeness", [])
    return {
        "cohort": row.name, "version": row.version, "kind": row.kind, "base": registry.bank_of(row).base,
        "digest": row.digest, "whole": is_whole(registry, row), "encoder": row.encoder, "seed": row.seed,
        "created_at": row.created_at,
        "members": [_member(each["name"], here.get(fold(each["name"])), row) for each in row.members],
        "recipe": row.recipe, "likeness": likeness,
        "metrics": {key: value for key, value in row.metrics.items() if key != "likeness"},
        "collapsed": _mean_off(likeness) > COLLAPSED,
    }  # fmt: skip


def _member(name: str, resident: Character | None, row: Cohort) -> dict[str, Any]:
    return {"character": name, "here": resident is not None, "served": _is_served(resident, row)}


def _is_served(resident: Character | None, row: Cohort) -> bool:
    """Whether a member's block is of this version still, and not a newcomer's by the same name."""
    card = resident.recipe.get("cohort", {}) if resident else {}
    return bool(card.get("member")) and (card.get("name"), card.get("version")) == (row.name, row.version)


def _mean_off(likeness: list[list[float]]) -> float:
    """The mean of what is off the diagonal."""
    values = [value for i, line in enumerate(likeness) for j, value in enumerate(line) if i != j]
    return sum(values) / len(values) if values else 0.0
