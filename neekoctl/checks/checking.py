"""Whether everybody is still who they were: in weights, likelihood, replies, at the gate and in style.
Puts the parts together: who (scope), what is measured (inspecting), what it means (verdicts, summary). Knows no screen
and no exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from neekoctl.checks import gate, summary
from neekoctl.checks.findings import Checked
from neekoctl.checks.inspecting import Report, look_at, measure_residents
from neekoctl.checks.scope import Scope
from neekoctl.checks.tolerances import Tolerances
from neekoctl.checks.verdicts import Judged
from neekoctl.gating import reaches
from neekoctl.stage import set_stage
from recipes.scores import mean_nll
from recipes.sources import Say
from registry.cohorts import damaged, harm
from registry.errors import BaseMismatch, NeekoError, NothingToCheck
from registry.names import some_of
from registry.readings import put_readings
from registry.revisions import arrivals, newest, unaccounted
from registry.store import Registry
from registry.tables import Reading


def check(registry: Registry, scope: Scope, allowed: Tolerances, *, say: Say, report: Report) -> dict[str, Any]:
    """Compare everybody in scope with the day they moved in (in style, with the first check), and keep what was
    measured. Returns what `check --json` prints.

    Raises:
        NothingToCheck: nobody is there, or nobody has stayed.
    """
    rows, left_out = scope.chosen(registry)
    handles = registry.handles()
    found = [look_at(registry, row, handles) for row in rows]
    for bank_id in dict.fromkeys(row.bank_id for row in rows):
        _measure_bank(registry, [each for each in found if each.row.bank_id == bank_id], say, report)
    found = _who_stayed(registry, found, say)
    at_the_gate = gate.section(registry, found, allowed, say)
    judged = [Judged(each, allowed, among=len(found)) for each in found]
    document = _document(registry, judged, at_the_gate, [row.name for row in left_out], allowed)
    _keep(registry, found, say)
    return document


def _who_stayed(registry: Registry, found: Sequence[Checked], say: Say) -> list[Checked]:
    """Whoever left or was replaced while the others were measured has no place at the gate, and is not judged.

    Raises:
        NothingToCheck: nobody is left.
    """
    here = {row.id for row in registry.residents(brief=True)}
    if left := [each.row.name for each in found if each.row.id not in here]:
        say(f"moved out meanwhile, and not judged: {some_of(left)}")
    if len(left) == len(found):
        raise NothingToCheck("Everybody who was to be checked has moved out meanwhile: check again.")
    return [each for each in found if each.row.id in here]


def _document(registry: Registry, judged: Sequence[Judged], gate: dict[str, Any], left_out: list[str],
              allowed: Tolerances) -> dict[str, Any]:  # fmt: skip
    common = [*unaccounted(registry), *map(harm, damaged(registry))]
    sections = summary.sections(judged, gate, allowed, common, arrivals(registry))
    regressed = any(section["verdict"] == "regressed" for section in sections.values())
    return {
        "verdict": "regressed" if regressed else "pass",
        "checked": len(judged),
        "left_out": left_out,
        "revision": newest(registry),
        "sections": sections,
        "characters": [summary.entry(each, sections) for each in judged],
        "gate": {key: sections["gate"][key] for key in ("questions", "accuracy_baseline", "accuracy_now")},
        "tolerances": allowed.model_dump(),
    }


def _measure_bank(registry: Registry, found: Sequence[Checked], say: Say, report: Report) -> None:
    """What the model says, where there is the model they were made for; else that is everybody's fault."""
    try:
        stage = set_stage(registry, registry.bank_of(found[0].row), say=say, fresh=True)
    except BaseMismatch as error:
        say(str(error))
        for each in found:
            each.faults["base"] = "the base is another model now"
    else:
        whole = [each for each in found if each.is_measurable]
        measure_residents(stage, whole, report)


def _keep(registry: Registry, found: Sequence[Checked], say: Say) -> None:
    """The readings of those who are who they say; a registry that cannot be written to costs the history alone."""
    try:
        put_readings(registry, [_reading(each) for each in found if each.is_readable])
    except (NeekoError, SQLAlchemyError) as error:
        say(f"what was measured could not be kept for the history: {error}")


def _reading(found: Checked) -> Reading:
    own = {found.row.block or "": [each.total for each in found.now]}  # what the rivals of this day are compared with
    return Reading(
        character_id=found.row.id,
        revision=0,
        probes=len(found.now),
        nll=mean_nll(found.now),
        baseline=mean_nll(found.then),
        replies_identical=len(found.now) - len(found.flips),
        found=sum(reaches(route.now, route.owner) for route in found.routes) if found.routes else None,
        distinctness={**found.rivals, **own} if found.rivals else {},
    )
