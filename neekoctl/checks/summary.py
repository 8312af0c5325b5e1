"""What `check --json` prints: every character's figures, and the five sections with a verdict each.
Knows no model, no registry file and no screen.

Backward transfer is that of Lopez-Paz and Ranzato (arXiv 1706.08840, eq. 3): the mean over everybody but the newest,
which is minus their forgetting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from neekoctl.checks.tolerances import Tolerances
from neekoctl.checks.verdicts import SECTIONS, Judged, difference, flips
from neekoctl.gating import reaches
from recipes.scores import Score, mean_nll

RECORDS = {"record", "probes", "baseline", "identity", "names"}  # faults of what is written of a character


def entry(judged: Judged, sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One character of it; what its section tolerates is told and is no regression."""
    found, loss, drift = judged.found, judged.loss, judged.drift
    lost, gained = flips(found.routes)
    told = [words for section in SECTIONS for words in judged.complaints[section]]
    return {
        "name": found.row.name,
        "weights_identical": not found.faults,
        "weights": "same" if not found.faults else "changed" if found.faults.keys() - RECORDS else "edited",
        "nll_baseline": _number(found.then and mean_nll(found.then)),
        "nll_now": _number(found.then and mean_nll(found.now)),
        "forgetting": _number(found.forgetting),
        "interval": [_number(loss.low), _number(loss.high)] if loss else None,
        "probes": [{"nll_baseline": then.nll, "nll_now": _number(now.nll)}
                   for then, now in zip(found.then, found.now, strict=True)],
        "replies": len(found.now),
        "replies_identical": len(found.now) - len(found.flips),
        "flips": [vars(each) for each in found.flips],
        "same_environment": not found.elsewhere,
        "elsewhere": found.elsewhere,
        "questions": len(found.routes),
        "found_baseline": sum(reaches(route.then, route.owner) for route in found.routes),
        "found": sum(reaches(route.now, route.owner) for route in found.routes),
        "lost": lost,
        "gained": gained,
        "distinctness_baseline": _number(found.distinct and mean_nll(found.distinct[0])),
        "distinctness": _number(found.distinct and mean_nll(found.distinct[1])),
        "drift": _number(drift and drift.mean),
        "complaints": judged.complaints,
        "unjudged": judged.unjudged,
        "regressed": any(judged.complaints[name] and sections[name]["verdict"] == "regressed" for name in SECTIONS),
        "complaint": "; ".join(told),
    }  # fmt: skip


def _number(value: Any) -> float | None:
    """JSON knows no NaN: what was not measured and what is no number are null, and the complaint tells which."""
    return value if isinstance(value, float) and math.isfinite(value) else None


def sections(judged: Sequence[Judged], gate: dict[str, Any], allowed: Tolerances, at_large: Sequence[str] = (),
             since: Mapping[int, str] | None = None) -> dict[str, dict[str, Any]]:  # fmt: skip
    """The five sections of the document, each with its verdict; `at_large` is what is wrong with what is stored, and
    nobody's alone; `since` says when everybody moved in, where that is not the day they were made."""
    weights = {**_weights(judged), "complaints": list(at_large)}
    figures = {"weights": weights, "likelihood": _likelihood(judged, since or {}), "replies": _replies(judged),
               "gate": gate, "style": _style(judged)}  # fmt: skip
    found = {}
    for name, each in figures.items():
        complaints = [f"{one.found.row.name}: {words}" for one in judged for words in one.complaints[name]]
        common = each.pop("complaints", [])
        too_many = len({one.found.row.id for one in judged if one.complaints[name]}) > allowed.weights
        failed = bool(common) or (bool(complaints) and (name != "weights" or too_many))
        why = each.pop("why", "")  # nothing of the section could be asked, whoever it is
        unjudged = {one.found.row.name: why or one.unjudged[name] for one in judged if name in one.unjudged}
        why = why or next(iter(unjudged.values()), "nobody is there")
        verdict = "regressed" if failed else "pass" if len(unjudged) < len(judged) else "not checked"
        found[name] = {"verdict": verdict, **({"why": why} if verdict == "not checked" else {}), **each,
                       "unjudged": unjudged, "complaints": complaints + common, "common": common}  # fmt: skip
    return found


def _weights(judged: Sequence[Judged]) -> dict[str, Any]:
    return {"characters": len(judged), "identical": sum(not each.found.faults for each in judged)}


def _likelihood(judged: Sequence[Judged], since: Mapping[int, str]) -> dict[str, Any]:
    known = sorted((each.found for each in judged if "likelihood" not in each.unjudged),
                   key=lambda each: since.get(each.row.id, each.row.created_at))  # fmt: skip
    lost = [each.forgetting or 0.0 for each in known]
    return {
        "probes": sum(len(each.now) for each in known),
        "forgetting": _number(sum(lost) / len(lost)) if lost else None,
        "interval": _interval(lost, judged[0].allowed) if judged else None,
        "backward_transfer": _number(-sum(lost[:-1]) / len(lost[:-1])) if lost[:-1] else None,
    }


def _interval(lost: Sequence[float], allowed: Tolerances) -> list[float] | None:
    """Of the mean over characters: they are drawn anew, since the probes of one are not independent."""
    found = difference([Score(each, 1) for each in lost], [Score(0.0, 1)] * len(lost), allowed.significance)
    return [found.low, found.high] if found else None


def _replies(judged: Sequence[Judged]) -> dict[str, Any]:
    known = [each.found for each in judged if "replies" not in each.unjudged]
    asked = sum(len(each.now) for each in known)
    return {"replies": asked, "identical": asked - sum(len(each.flips) for each in known)}


def _style(judged: Sequence[Judged]) -> dict[str, Any]:
    known = [each.found.distinct for each in judged if "style" not in each.unjudged and each.found.distinct]
    first, now = (sum(mean_nll(pair[side]) for pair in known) / len(known) if known else None for side in (0, 1))
    return {"characters": len(known), "baseline": _number(first), "now": _number(now)}
