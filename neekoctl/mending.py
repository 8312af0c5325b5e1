"""What crashes, kills and bad disks leave behind: found, cleared where nothing is lost, named where a person must
decide. Knows no model and no screen."""

from __future__ import annotations

import shutil
from typing import Any

from registry.cohorts import damaged, harm, how_to_remove, sweep
from registry.scratch import half_made, is_abandoned
from registry.store import Registry


def examine(registry: Registry, *, prune: bool) -> list[dict[str, Any]]:
    """Every finding as {"what", "fixed", "harm", "advice"}; `harm` means that a person must act."""
    if (opinion := registry.integrity()) != "ok":
        return [_finding(f"the database is damaged: {opinion}", harm=True, advice="restore registry.db from a copy")]
    found = [_finding(f"reservation of {name}, whose process is gone", fixed=True) for name in registry.clear_dead()]
    found += _scratch(registry)
    found += _blocks(registry, prune)
    found += [_finding(what, fixed=True) for what in sweep(registry)]
    found += [_finding(harm(row), harm=True, advice=f"restore them from a copy, or `{how_to_remove(row)}`")
              for row in damaged(registry)]  # fmt: skip
    return found + _checkpoints(registry, prune)


def _scratch(registry: Registry) -> list[dict[str, Any]]:
    found = []
    for path in half_made(registry.layout):
        if is_abandoned(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            found.append(_finding(f"half-made {path.name}", fixed=True))
    return found


def _blocks(registry: Registry, prune: bool) -> list[dict[str, Any]]:
    found = []
    for row in registry.residents():
        if not registry.blocks.is_whole(row.block or ""):
            advice = f"restore {registry.blocks.path(row.block or '')}, or remove the character"
            found.append(_finding(f"the block of {row.name} is missing or damaged", harm=True, advice=advice))
    for digest in registry.prune() if prune else registry.unreferenced_blocks():
        found.append(_finding(f"block {digest[:12]} belongs to nobody", fixed=prune, advice=_prune_advice(prune)))
    return found


def _checkpoints(registry: Registry, prune: bool) -> list[dict[str, Any]]:
    if registry.characters(status=("reserved",)):
        return []  # somebody is training: the checkpoints may be theirs
    found = []
    for path in sorted(registry.layout.checkpoints.glob("*")):
        if prune:
            path.unlink(missing_ok=True)
        advice = "" if prune else "repeat the command with --resume, or --prune deletes it"
        found.append(_finding(f"checkpoint {path.name[:12]} of an unfinished training", fixed=prune, advice=advice))
    return found


def _prune_advice(pruned: bool) -> str:
    return "" if pruned else "--prune deletes it, and no rollback brings it back"


def _finding(what: str, *, fixed: bool = False, harm: bool = False, advice: str = "") -> dict[str, Any]:
    return {"what": what, "fixed": fixed, "harm": harm, "advice": advice}
