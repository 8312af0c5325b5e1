"""Which onboarding changed whom: the matrix of characters by revisions, and the measures of continual learning on it.
Knows no screen; measures nothing itself.

With R[i, j] the NLL of character j's probes after revision i (nats a token, lower is better): forgetting is the last
reading less the first (Avalanche's definition, the sign turned for a loss), or less the best one (Chaudhry et al.,
arXiv 1801.10112, eq. 3); backward transfer is the first less the last (Lopez-Paz and Ranzato, arXiv 1706.08840, eq. 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry.readings import Matrix
from registry.tables import Character, Reading, Revision

SIGNS = {"moved in": "+", "moved out": "-", "rolled back": "<"}


def titles(matrix: Matrix) -> list[str]:
    """A revision's number and who moved."""
    names = {row.id: row.name for row in matrix.everybody}
    return [_title(step, names) for step in matrix.revisions]


def _title(step: Revision, names: dict[int, str]) -> str:
    who = names.get(step.character_id, "") if step.character_id else f"to {step.back_to}"
    return f"{step.number} {SIGNS[step.kind]} {who}"


def changes(matrix: Matrix) -> list[list[float | None]]:
    """Forgetting by character and revision."""
    return [[_change(each) for each in row] for row in matrix.cells]


def _change(reading: Reading | None) -> float | None:
    return None if reading is None else reading.nll - reading.baseline


def document(matrix: Matrix) -> dict[str, Any]:
    """The matrix and its measures, as `history --json` prints them."""
    measured = [_measures(person, row) for person, row in zip(matrix.characters, matrix.cells, strict=True)]
    return {
        "revisions": [
            {"revision": step.number, "kind": step.kind, "title": title}
            for step, title in zip(matrix.revisions, titles(matrix), strict=True)
        ],
        "characters": measured,
        "forgetting": _mean([row["forgetting"] for row in measured]),
        "backward_transfer": _mean([-row["forgetting"] for row in measured[:-1] if row["forgetting"] is not None]),
    }


def _measures(person: Character, row: Sequence[Reading | None]) -> dict[str, Any]:
    lost = [each for each in map(_change, row) if each is not None]
    return {
        "name": person.name,
        "nll": [each.nll if each else None for each in row],
        "change": [_change(each) for each in row],
        "probes": [each.probes if each else None for each in row],
        "forgetting": lost[-1] if lost else None,
        "forgetting_from_best": lost[-1] - min(0.0, *lost) if lost else None,
        "worst": _worst(row),
    }


def _worst(row: Sequence[Reading | None]) -> int | None:
    """The revision at which the character was furthest from the first day; None when it never was."""
    known = [(_change(each) or 0.0, each.revision) for each in row if each]
    most = max(known, default=(0.0, None))
    return most[1] if most[0] > 0 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None
