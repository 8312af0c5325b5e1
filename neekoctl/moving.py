"""A registry that moves: what `bundle load` does beside the loading, and its document. Knows no screen."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from neekoctl.gating import gate_stays_on_failure, refit
from neekoctl.routing import texts_of
from recipes.sources import folder_of
from registry.arriving import Arrival, load
from registry.store import Registry


def move_in(registry: Registry, path: Path, say: Callable[[str], None], *, rehearse: bool) -> dict[str, Any]:
    """Load a bundle, and fit the gate to everybody where newcomers were merged. Returns what `load --json` prints."""
    arrival = load(registry, path, rehearse=rehearse)
    merged = [] if arrival.restored else [each.name for each in arrival.moved_in]
    if merged and not rehearse and (version := _refitted(registry, merged, say)) is not None:
        arrival.gate = version
    return _document(arrival, path, rehearse)


def _refitted(registry: Registry, newcomers: Collection[str], say: Callable[[str], None]) -> int | None:
    """The version in use after a refit; None, and told, when there is none. Everybody has moved in by now."""
    found = None
    with gate_stays_on_failure(newcomers, say):
        texts = texts_of(registry, None, say)
        if not (folder_of(registry.layout, texts.name) / "config.json").is_file():
            say(f"the gate is not fitted to the newcomers: `neekoctl gate rebuild` does it, and needs {texts.name}")
            return None
        found = refit(registry, texts, newcomers=newcomers)
    if found and found["kept"]:
        say("a gate fitted to everybody would lose some residents: `neekoctl gate rebuild` takes it all the same")
    return int(found["version"]) if found else None


def _document(arrival: Arrival, path: Path, rehearsed: bool) -> dict[str, Any]:
    moved = [{"name": each.name, "from": list(each.was), "to": list(each.now)} for each in arrival.moved_in]
    return {
        "file": str(path),
        "dry_run": rehearsed,
        "how": "restored" if arrival.restored else "merged",
        "moved_in": moved,
        "skipped": arrival.skipped,
        "blocks": arrival.blocks,
        "gate": arrival.gate,
    }
