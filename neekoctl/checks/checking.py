"""Whether everybody is still who they were: in weights, likelihood, replies, at the gate and in style.
Puts the parts together: who (scope), what is measured (inspecting), what it means (verdicts, summary). Knows no screen
and no exit codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from neekoctl.checks import summary
from neekoctl.checks.findings import Checked, Route
from neekoctl.checks.inspecting import Report, look_at, measure_residents
from neekoctl.checks.scope import Scope
from neekoctl.checks.tolerances import Tolerances
from neekoctl.checks.verdicts import Judged, flips, is_loss, mcnemar
from neekoctl.gating import reaches
from neekoctl.stage import bank_of, set_stage
from recipes.scores import mean_nll
from registry.errors import BaseMismatch, NeekoError
from registry.gates import active_gate
from registry.readings import first_distinctness, put_readings
from registry.revisions import newest
from registry.store import Registry
from registry.tables import Gate, Reading

Say = Callable[[str], None]


def check(registry: Registry, scope: Scope, allowed: Tolerances, *, say: Say, report: Report) -> dict[str, Any]:
    """Compare everybody in scope with the day they moved in, and keep what was measured. Returns the document of
    DESIGN 9.

    Raises:
        NothingToCheck: nobody is there.
    """
    rows, left_out = scope.chosen(registry)
    found = [look_at(registry, row) for row in rows]
    for bank_id in dict.fromkeys(row.bank_id for row in rows):
        _measure_bank(registry, [each for each in found if each.row.bank_id == bank_id], say, report)
    gate = _gate(registry, found, allowed, say)
    judged = [Judged(each, allowed) for each in found]
    put_readings(registry, [_reading(each) for each in found if each.now and each.comparable])
    return _document(registry, judged, gate, [row.name for row in left_out], allowed)


def _document(registry: Registry, judged: Sequence[Judged], gate: dict[str, Any], left_out: list[str],
              allowed: Tolerances) -> dict[str, Any]:  # fmt: skip
    sections = summary.sections(judged, gate, allowed)
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
        stage = set_stage(registry, bank_of(registry, found[0].row), say=say, fresh=True)
    except BaseMismatch as error:
        say(str(error))
        for each in found:
            each.faults["base"] = "the base is another model now"
    else:
        whole = [each for each in found if "files" not in each.faults]
        measure_residents(stage, whole, first_distinctness(registry, [each.row for each in whole]), report)


def _gate(registry: Registry, found: Sequence[Checked], allowed: Tolerances, say: Say) -> dict[str, Any]:
    """Where the gate takes every probe now: noted with its owner, and in all."""
    try:
        _route(registry, found, say)
        why = "nobody has probes that were ever routed"
    except NeekoError as error:
        why = str(error)
        say(f"the gate is not checked: {error}")
    routes = [route for each in found for route in each.routes]
    lost, gained = flips(routes)
    version = active_gate(registry)
    complaints = _unfitted(registry, version)
    if is_loss(routes, allowed):
        complaints.append(f"{lost} of {len(routes)} questions no longer reach their owners, {gained} newly do")
    return {
        "measured": len(routes),
        "version": version.version if version else None,
        "questions": len(routes),
        "accuracy_baseline": _share([reaches(route.then, route.owner) for route in routes]),
        "accuracy_now": _share([reaches(route.now, route.owner) for route in routes]),
        "p": mcnemar(lost, gained),
        "flips": [
            {**vars(route), "lost": route.lost}
            for route in sorted(routes, key=lambda each: not each.lost)
            if route.then != route.now
        ],
        "why": why,
        "complaints": complaints,
    }


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _route(registry: Registry, found: Sequence[Checked], say: Say) -> None:
    from neekoctl.gating import judge
    from neekoctl.routing import Router, texts_of

    router = Router(registry, texts_of(registry, None, say))
    for each in found:
        probes = [probe for probe in registry.probes(each.row) if probe.routed is not None]
        routed = judge(router, [(probe, each.row.name) for probe in probes]).routed
        each.routes = [Route(each.row.name, probe.prompt[-1]["content"], probe.routed or "", routed[probe.id or 0])
                       for probe in probes if probe.id in routed]  # fmt: skip


def _unfitted(registry: Registry, version: Gate | None) -> list[str]:
    """Residents whom the gate in use was not fitted on though they lived here then."""
    if version is None or "fitted_on" not in version.evidence:
        return []
    known = set(version.evidence["fitted_on"])
    here = [row for row in registry.characters(status=("ready",)) if row.created_at < version.created_at]
    missing = [row.name for row in here if row.id not in known]
    return [f"version {version.version} was fitted without {', '.join(missing)}"] if missing else []


def _reading(found: Checked) -> Reading:
    return Reading(
        character_id=found.row.id or 0,
        revision=0,
        probes=len(found.now),
        nll=mean_nll(found.now),
        baseline=mean_nll(found.then),
        replies_identical=len(found.now) - len(found.flips),
        found=sum(reaches(route.now, route.owner) for route in found.routes) if found.routes else None,
        distinctness=found.rivals,
    )
