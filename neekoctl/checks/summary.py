"""The document of a check (DESIGN 9): every character's figures, and the five sections with a verdict each.
Knows no model, no registry file and no screen.

Backward transfer is that of Lopez-Paz and Ranzato (arXiv 1706.08840, eq. 3): the mean over everybody but the newest,
which is minus their forgetting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from neekoctl.checks.tolerances import Tolerances
from neekoctl.checks.verdicts import SECTIONS, Judged, difference, flips
from neekoctl.gating import reaches
from recipes.scores import mean_nll


def entry(judged: Judged, sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One character of the document of DESIGN 9; what its section tolerates is told and is no regression."""
    found, loss, drift = judged.found, judged.loss, judged.drift
    lost, gained = flips(found.routes)
    told = [words for section in SECTIONS for words in judged.complaints[section]]
    return {
        "name": found.row.name,
        "weights_identical": not found.faults,
        "nll_baseline": _number(found.then and mean_nll(found.then)),
        "nll_now": _number(found.then and mean_nll(found.now)),
        "forgetting": _number(found.forgetting),
        "interval": [loss.low, loss.high] if loss else None,
        "probes": [{"nll_baseline": then.nll, "nll_now": now.nll}
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
        "distinctness_baseline": mean_nll(found.distinct[0]) if found.distinct else None,
        "distinctness": mean_nll(found.distinct[1]) if found.distinct else None,
        "drift": drift.mean if drift else None,
        "complaints": judged.complaints,
        "regressed": any(judged.complaints[name] and sections[name]["verdict"] == "regressed" for name in SECTIONS),
        "complaint": "; ".join(told),
    }  # fmt: skip


def _number(value: Any) -> float | None:
    """JSON knows no NaN: what was not measured and what is no number are null, and the complaint tells which."""
    return value if isinstance(value, float) and math.isfinite(value) else None


def sections(judged: Sequence[Judged], gate: dict[str, Any], allowed: Tolerances) -> dict[str, dict[str, Any]]:
    """The five sections of the document, each with its verdict."""
    figures = {"weights": _weights(judged), "likelihood": _likelihood(judged), "replies": _replies(judged),
               "gate": gate, "style": _style(judged)}  # fmt: skip
    found = {}
    for name, each in figures.items():
        complaints = [f"{one.found.row.name}: {words}" for one in judged for words in one.complaints[name]]
        common = each.pop("complaints", [])
        too_many = len({one.found.row.id for one in judged if one.complaints[name]}) > allowed.weights
        failed = bool(complaints or common) and (name != "weights" or too_many)
        measured, why = each.pop("measured"), each.pop("why")
        verdict = "regressed" if failed else "pass" if measured else "not checked"
        unmeasured = {} if measured else {"why": why}
        found[name] = {"verdict": verdict, **unmeasured, **each, "complaints": complaints + common, "common": common}
    return found


def _weights(judged: Sequence[Judged]) -> dict[str, Any]:
    identical = sum(not each.found.faults for each in judged)
    return {"measured": len(judged), "why": "", "characters": len(judged), "identical": identical}


def _likelihood(judged: Sequence[Judged]) -> dict[str, Any]:
    lost = [(each.found.row.created_at, each.found.forgetting) for each in judged if each.found.forgetting is not None]
    earlier = [forgetting for _, forgetting in sorted(lost)[:-1]]
    together = difference(
        [score for each in judged for score in each.found.now],
        [score for each in judged for score in each.found.then],
        judged[0].allowed,
    ) if judged else None  # fmt: skip
    return {
        "measured": len(lost),
        "why": "nobody has probes, or the base is not theirs",
        "probes": sum(len(each.found.now) for each in judged),
        "forgetting": _number(sum(forgetting for _, forgetting in lost) / len(lost)) if lost else None,
        "interval": [together.low, together.high] if together else None,
        "backward_transfer": _number(-sum(earlier) / len(earlier)) if earlier else None,
    }


def _replies(judged: Sequence[Judged]) -> dict[str, Any]:
    compared = [each.found for each in judged if not each.found.elsewhere]
    asked = sum(len(each.now) for each in compared)
    identical = asked - sum(len(each.flips) for each in compared)
    why = "nobody who has probes moved in on this hardware and these versions"
    return {"measured": asked, "why": why, "replies": asked, "identical": identical}


def _style(judged: Sequence[Judged]) -> dict[str, Any]:
    known = [each.found.distinct for each in judged if each.found.distinct]
    first, now = (sum(mean_nll(pair[side]) for pair in known) / len(known) if known else None for side in (0, 1))
    why = "a first check has noted whom each is nearest to; the next one compares"
    return {"measured": len(known), "why": why, "characters": len(known), "baseline": first, "now": now}
