"""How well the gate finds the owners of stored probes: the numbers. Knows no screen and no plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from neekoctl.gating import route_probe, sampled, share
from neekoctl.routing import Router
from recipes.gate import Decision
from registry.errors import NothingToCheck
from registry.gates import active_gate, probes_of_everybody
from registry.store import Registry

BINS = 10  # of probability, for calibration


def report(registry: Registry, router: Router) -> dict[str, Any]:
    """Every figure of `gate report`.

    Raises:
        NothingToCheck: nobody has a probe.
    """
    probes = [each for each in sampled(probes_of_everybody(registry)) if each[0].vector is not None]
    if not probes:
        raise NothingToCheck("Nobody has probes to judge the gate by: add a character with a few more dialogues.")
    owners = [owner for _, owner in probes]
    decisions = [route_probe(router, probe) for probe, _ in probes]
    first = [_first(router, each) for each in decisions]
    chosen = [router.people[each.owner].name if each.owner is not None else each.outcome for each in decisions]
    sure = [each.candidates[0].probability if each.candidates else 0.0 for each in decisions]
    right = [one == owner for one, owner in zip(first, owners, strict=True)]
    version = active_gate(registry)
    return {
        "version": version.version if version else None,
        "questions": len(probes),
        "top_1": share(right),
        "decisions": dict(Counter(each.outcome for each in decisions)),
        "decided": share([each.outcome == "match" for each in decisions]),
        "accuracy_when_decided": share([one == owner for one, owner, each in zip(chosen, owners, decisions, strict=True)
                                        if each.outcome == "match"]),
        "characters": _by_character(owners, chosen),
        "confusion": _confusion(owners, chosen),
        "coverage": coverage(sure, right),
        "calibration": calibration(sure, right),
    }  # fmt: skip


def _first(router: Router, decision: Decision) -> str:
    return router.people[decision.candidates[0].owner].name if decision.candidates else decision.outcome


def _by_character(owners: list[str], chosen: list[str]) -> list[dict[str, Any]]:
    """Precision: of the questions given to a character, its own. Recall: of its own, those given to it."""
    rows = []
    for name in dict.fromkeys(owners):
        hits = sum(owner == one == name for owner, one in zip(owners, chosen, strict=True))
        given, own = chosen.count(name), owners.count(name)
        rows.append({"name": name, "questions": own, "precision": hits / given if given else None,
                     "recall": hits / own})  # fmt: skip
    return rows


def _confusion(owners: list[str], chosen: list[str]) -> dict[str, Any]:
    """Counts by owner (rows) and by where the question went (columns)."""
    names = list(dict.fromkeys(owners))
    columns = [*names, "ambiguous", "unknown"]
    counts = Counter(zip(owners, chosen, strict=True))
    return {"owners": names, "given_to": columns, "counts": [[counts[one, two] for two in columns] for one in names]}


def coverage(sure: Sequence[float], right: Sequence[bool]) -> list[list[float]]:
    """[share decided, accuracy on it] from the surest question on."""
    order = np.argsort(-np.asarray(sure), kind="stable")
    hits = np.asarray(right, dtype=float)[order].cumsum()
    return [[place / len(order), float(hit / place)] for place, hit in enumerate(hits, start=1)]


def calibration(sure: Sequence[float], right: Sequence[bool]) -> list[dict[str, float]]:
    """By bins of the probability that was said: its mean, and how often it was right."""
    places = np.minimum((np.asarray(sure) * BINS).astype(int), BINS - 1)
    rows = []
    for place in sorted(set(places.tolist())):
        inside = places == place
        rows.append({"said": float(np.asarray(sure)[inside].mean()), "was": float(np.asarray(right)[inside].mean()),
                     "questions": int(inside.sum())})  # fmt: skip
    return rows
