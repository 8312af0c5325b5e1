"""Where the gate takes every probe now, and whether it is the gate that was fitted. Knows no model, no verdict on a
character and no screen.

The same version over the same residents routes the same way, so its settings are sealed; another version is judged by
the questions it loses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from neekoctl.checks.findings import Checked, Route
from neekoctl.checks.tolerances import Tolerances
from neekoctl.checks.verdicts import flips, is_loss, mcnemar
from neekoctl.gating import judge, reaches, share
from neekoctl.routing import Router, texts_of
from recipes.sources import Say
from registry.errors import BlockDamaged, EncoderMismatch, NeekoError
from registry.gates import active_gate, fingerprint
from registry.revisions import arrivals
from registry.seals import digest
from registry.store import Registry
from registry.tables import Gate


def section(registry: Registry, found: Sequence[Checked], allowed: Tolerances, say: Say) -> dict[str, Any]:
    """Route every probe, noted with its owner; the figures of the section, and what is nobody's alone."""
    version, why, unrouted = active_gate(registry), "", 0
    complaints = list(_faults(registry, found, version))
    try:
        unrouted = _route(registry, found, say)
    except (BlockDamaged, EncoderMismatch) as error:
        complaints.append(f"it cannot be asked: {error}")
    except NeekoError as error:
        why = str(error)
        say(f"the gate is not checked: {error}")
    routes = [route for each in found for route in each.routes]
    if is_loss(routes, allowed):
        lost, gained = flips(routes)
        complaints.append(f"{lost} of {len(routes)} questions no longer reach their owners, {gained} newly do")
    number = version.version if version else None
    return {"version": number, "unrouted": unrouted, **_figures(routes), "why": why, "complaints": complaints}


def _figures(routes: Sequence[Route]) -> dict[str, Any]:
    """How many questions found whom, then and now, and those that went elsewhere, the lost ones first."""
    moved = sorted((route for route in routes if route.then != route.now), key=lambda each: not each.lost)
    return {
        "questions": len(routes),
        "accuracy_baseline": share([reaches(route.then, route.owner) for route in routes]),
        "accuracy_now": share([reaches(route.now, route.owner) for route in routes]),
        "p": mcnemar(*flips(routes)),
        "flips": [{**vars(route), "lost": route.lost} for route in moved],
    }


def _route(registry: Registry, found: Sequence[Checked], say: Say) -> int:
    """Fill in everybody's routes; returns how many probes could not be compared, never routed or not embedded."""
    router, left = Router(registry, texts_of(registry, None, say)), 0
    for each in found:
        probes = registry.probes(each.row)
        known = [probe for probe in probes if probe.routed is not None and "probes" not in each.faults]
        routed = judge(router, [(probe, each.row.name) for probe in known]).routed
        each.routes = [Route(each.row.name, probe.prompt[-1]["content"], probe.routed or "", routed[probe.id])
                       for probe in known if probe.id in routed]  # fmt: skip
        left += len(probes) - len(each.routes)
    return left


def _faults(registry: Registry, found: Sequence[Checked], version: Gate | None) -> Iterator[str]:
    """What is wrong with the gate before anybody asks it."""
    if version is None:
        if any(probe.routed_by is not None for each in found for probe in registry.probes(each.row)):
            yield "no version of it is in use, and questions were routed by one"
        return
    sealed = version.evidence.get("settings")
    if sealed not in (None, digest(version.settings)):
        yield f"the settings of version {version.version} were edited in the database"
    if others := [each.row.name for each in found if fingerprint(each.row.encoder) != fingerprint(version.encoder)]:
        yield f"{', '.join(others)} and version {version.version} were embedded by different encoders"
    if missing := list(_unfitted(registry, found, version)):
        yield f"version {version.version} was fitted without {', '.join(missing)}"


def _unfitted(registry: Registry, found: Sequence[Checked], version: Gate) -> Iterator[str]:
    """Those whom the version was not fitted on though they had moved in when it was."""
    since = arrivals(registry)
    known = version.evidence.get("fitted_on", since)  # a version that came from elsewhere does not tell
    for each in found:
        if each.row.id not in known and each.row.id in since and since[each.row.id] < version.created_at:
            yield each.row.name
