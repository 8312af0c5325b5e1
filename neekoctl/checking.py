"""Whether everybody is still who they were: bytes, likelihood and greedy replies against the day of onboarding.
Knows no screen and no exit codes.

Forgetting is the likelihood lost since then: NLL now minus NLL at onboarding, in nats a token (the "first minus last"
of Chaudhry et al., arXiv 1801.10112, eq. 3, with likelihood as the measure).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neekoctl.measuring import baseline, environment, heldout_messages, measure
from neekoctl.stage import Stage, bank_of, set_stage
from registry.errors import BaseMismatch, NothingToCheck
from registry.store import Registry
from registry.tables import Character

TOLERANCE = 1e-4  # nats a token, on the machine and versions of the onboarding: rounding across batch shapes
TOLERANCE_ELSEWHERE = 0.02  # other hardware or versions: bf16 against fp32 moves a likelihood by about 0.01

Report = Callable[[Character], None]


def check(registry: Registry, *, only: str | None, say: Callable[[str], None], report: Report) -> dict[str, Any]:
    """Check every ready character, or the one called `only`. Returns the document of DESIGN 9.

    Raises:
        NothingToCheck: nobody is there.
    """
    rows = [registry.ready(only)] if only else registry.characters(status=("ready",))
    if not rows:
        raise NothingToCheck("There is nobody to check: add a character first with `neekoctl add-character`.")
    found = []
    for bank_id in dict.fromkeys(row.bank_id for row in rows):
        members = [row for row in rows if row.bank_id == bank_id]
        found += _check_bank(registry, members, say, report)
    regressed = any(entry["regressed"] for entry in found)
    return {
        "verdict": "regressed" if regressed else "pass",
        "checked": len(found),
        "characters": found,
        "gate": {"questions": 0, "accuracy_baseline": None, "accuracy_now": None},
    }


def _check_bank(
    registry: Registry, members: list[Character], say: Callable[[str], None], report: Report
) -> list[dict[str, Any]]:
    try:
        stage = set_stage(registry, bank_of(registry, members[0]), say=say, fresh=True)
    except BaseMismatch as error:
        say(str(error))
        return [_entry(row, registry.blocks.is_whole(row.block or ""), None, None, "the base is another model now")
                for row in members]  # fmt: skip
    entries = []
    for row in members:
        report(row)
        entries.append(_check_one(stage, row))
    return entries


def _check_one(stage: Stage, row: Character) -> dict[str, Any]:
    from recipes.likelihood import mean_nll

    if not stage.registry.blocks.is_whole(row.block or ""):
        return _entry(row, False, None, None, "block damaged or missing")
    probes = stage.registry.probes(row)
    messages = [heldout_messages(row.system_message, probe.prompt, probe.reference) for probe in probes]
    measured = measure(stage, stage.mounted(row), messages)
    then = baseline(probes)
    if then is None:
        return _entry(row, True, None, None, "")
    now = mean_nll([each.score for each in measured])
    same = sum(each.reply == probe.reply for each, probe in zip(measured, probes, strict=True))
    here = environment(stage) == row.environment
    return _entry(row, True, (then, now), (len(probes), same), _complaint(now - then, len(probes) - same, here), here)


def _complaint(forgetting: float, flipped: int, here: bool) -> str:
    """What has regressed, in words; empty when nothing has."""
    if here and flipped:
        return f"{flipped} greedy replies differ"
    if not forgetting <= (TOLERANCE if here else TOLERANCE_ELSEWHERE):  # so that NaN is one, too
        return f"the held-out likelihood fell by {forgetting:.4f} nats a token"
    return ""


def _entry(row: Character, whole: bool, nll: tuple[float, float] | None, replies: tuple[int, int] | None,
           complaint: str, here: bool = True) -> dict[str, Any]:  # fmt: skip
    return {
        "name": row.name,
        "weights_identical": whole,
        "nll_baseline": nll[0] if nll else None,
        "nll_now": nll[1] if nll else None,
        "forgetting": nll[1] - nll[0] if nll else None,
        "replies": replies[0] if replies else 0,
        "replies_identical": replies[1] if replies else 0,
        "same_environment": here,
        "regressed": bool(complaint),
        "complaint": complaint,
    }
