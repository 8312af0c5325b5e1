"""What differs between two registries: who came, who went, whose block or records changed, who lies elsewhere.
Knows rows; where they came from (a home or a bundle) makes no difference.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.bundle import everything, opened
from registry.errors import UsageError
from registry.layout import Layout
from registry.names import fold
from registry.seals import records
from registry.shapes import Rows
from registry.store import Registry
from registry.tables import Probe

HERE = "here"


@dataclass(frozen=True)
class _Person:
    """What is compared of a resident; `parts` are digests of what the rows say now."""

    name: str
    ranks: list[int]
    parts: dict[str, str | None]


def rows_at(place: str) -> Rows:
    """The rows of a bundle, of a home, or of `here`. Raises UsageError where there is neither."""
    if place == HERE:
        return everything(Registry(Layout.default()))
    if (layout := Layout(Path(place))).database.is_file():
        return everything(Registry(layout))
    if Path(place).is_dir():
        raise UsageError(f"There is no registry in {place}: name a bundle, a NEEKOCTL_HOME, or `{HERE}`.")
    with opened(Path(place)) as bundle:
        return bundle.rows


def difference(a: Rows, b: Rows) -> dict[str, Any]:
    """From `a` to `b`, by name."""
    before, after = _people(a), _people(b)
    both = [(before[key], after[key]) for key in after if key in before]
    changed = [(now.name, [part for part in now.parts if was.parts[part] != now.parts[part]]) for was, now in both]
    gates = [rows.active_gate.version if rows.active_gate else None for rows in (a, b)]
    return {
        "added": [after[key].name for key in after if key not in before],
        "removed": [before[key].name for key in before if key not in after],
        "changed": [{"name": name, "what": what} for name, what in changed if what],
        "moved": [
            {"name": now.name, "from": was.ranks, "to": now.ranks} for was, now in both if was.ranks != now.ranks
        ],
        "gate": dict(zip("ab", gates, strict=True)),
    }


def _people(rows: Rows) -> dict[str, _Person]:
    """The residents by folded name."""
    probes: dict[int, list[Probe]] = defaultdict(list)
    for probe in sorted(rows.probe, key=lambda each: each.position):
        probes[probe.character_id].append(probe)
    return {
        fold(row.name): _Person(row.name, [row.start, row.stop],
                                {"block": row.block, **records(row, probes[row.id])})
        for row in rows.residents
    }  # fmt: skip
