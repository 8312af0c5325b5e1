"""How well the gate finds the owners of stored probes: the numbers, and their table. Knows no plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from neekoctl.gating import route_probe, sampled
from neekoctl.render import out
from neekoctl.routing import Router
from recipes.gate import Decision
from registry.errors import NothingToCheck
from registry.gates import active_gate, probes_of_everybody
from registry.store import Registry

BINS = 10  # of probability, for calibration
DRAWN = 24  # characters in a drawn confusion matrix; more are told by their commonest confusions
SHADES = " ░▒▓█"


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
        "top_1": _mean(right),
        "decisions": dict(Counter(each.outcome for each in decisions)),
        "decided": _mean([each.outcome == "match" for each in decisions]),
        "accuracy_when_decided": _mean([one == owner for one, owner, each in zip(chosen, owners, decisions, strict=True)
                                        if each.outcome == "match"]),
        "characters": _by_character(owners, chosen),
        "confusion": _confusion(owners, chosen),
        "coverage": coverage(sure, right),
        "calibration": calibration(sure, right),
    }  # fmt: skip


def _first(router: Router, decision: Decision) -> str:
    return router.people[decision.candidates[0].owner].name if decision.candidates else decision.outcome


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


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


def show(document: dict[str, Any]) -> None:
    """The report on a terminal."""
    console = out()
    accuracy = document["accuracy_when_decided"]
    console.print(
        f"[bold]Gate {document['version'] or 'unfitted'}[/]: {document['questions']} probes, the owner is likeliest in "
        f"{document['top_1']:.0%}; decides {document['decided']:.0%} by itself"
        + (f", right in {accuracy:.0%} of them" if accuracy is not None else "")
    )
    _draw_confusion(document["confusion"])
    table = Table(box=None, pad_edge=False)
    for title in ("CHARACTER", "PROBES", "PRECISION", "RECALL"):
        table.add_column(title, justify="left" if title == "CHARACTER" else "right")
    for row in document["characters"]:
        precision = "-" if row["precision"] is None else f"{row['precision']:.2f}"
        table.add_row(escape(row["name"]), str(row["questions"]), precision, f"{row['recall']:.2f}")
    console.print(table)
    for title, rows in (("COVERAGE  ACCURACY", _steps(document["coverage"])), ("SAID  WAS", document["calibration"])):
        console.print(f"[bold]{title}[/]")
        for row in rows:
            console.print(f"  {row['said']:5.0%}  {row['was']:5.0%}  {'█' * round(30 * row['was'])}")


def _steps(points: list[list[float]]) -> list[dict[str, float]]:
    """Ten points of the curve, in the form of the calibration's rows: the share that is decided, and its accuracy."""
    places = sorted({max(0, round(len(points) * tenth / 10) - 1) for tenth in range(1, 11)})
    return [{"said": points[place][0], "was": points[place][1]} for place in places]


def _draw_confusion(confusion: dict[str, Any]) -> None:
    """Rows are owners, columns where their questions went; ? is ambiguous, - is unknown."""
    names = confusion["owners"]
    if len(names) > DRAWN:
        _name_confusions(confusion)
        return
    heads = [*(chr(ord("a") + place) for place in range(len(names))), "?", "-"]
    out().print("  " + " ".join(f"{head:>3}" for head in heads), markup=False)
    for head, name, row in zip(heads, names, confusion["counts"], strict=False):
        most = max(1, *row)
        cells = " ".join(f"{SHADES[-(-4 * count // most)]}{count or '·':>2}" for count in row)
        out().print(f"{head} {cells}  {name}", markup=False)


def _name_confusions(confusion: dict[str, Any]) -> None:
    pairs = [(count, owner, other) for owner, row in zip(confusion["owners"], confusion["counts"], strict=True)
             for other, count in zip(confusion["given_to"], row, strict=True) if count and other != owner]  # fmt: skip
    for count, owner, other in sorted(pairs, reverse=True)[:DRAWN]:
        out().print(f"  {count:3} of {owner}'s questions went to {other}", markup=False)
