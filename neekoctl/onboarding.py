"""The transaction of an onboarding: validate, reserve, make, commit; whole or not at all.
Knows registry and strategies; nothing of Typer or the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from neekoctl import kinship, planning
from neekoctl.certifying import QUICK, THOROUGH, Depth, Finding, bear_witness, compare, first_reading, read
from neekoctl.measuring import baseline
from neekoctl.planning import Plan
from neekoctl.request import Request
from neekoctl.routing import texts_of
from neekoctl.scaffold import UNFINISHED, is_unfinished
from neekoctl.settling import Spoken, measure_probes, onboarded, refit_gate, store_block, words_of
from neekoctl.stage import Stage, set_stage
from neekoctl.underway import Screen, refuse_full_disk, renewing, reporting, training
from registry.cohorts import how_to_remove, verified_cohort
from registry.errors import CohortDamaged, EncoderMismatch
from registry.gates import fingerprint
from registry.roles import refuse_another_encoder
from registry.store import Registry, Reservation
from registry.tables import Character, Probe

if TYPE_CHECKING:
    from recipes.hyper import Entry
    from recipes.task import Made, Strategy, Task

MOST_RUNGS_TRAINED = 3  # by `auto`: from neighbours, from a cohort, from nothing


def onboard(registry: Registry, request: Request, screen: Screen) -> dict[str, Any]:
    """Add a character. Returns what `add-character --json` prints.

    Raises:
        NeekoError: with the reservation given back and nothing else changed.
    """
    started = time.monotonic()
    plan, spoken = _prepared(registry, request, screen)
    stage = None
    if plan.bank.id is None:  # a base that cannot be loaded must not leave an empty bank behind
        stage = set_stage(registry, plan.bank, say=screen.say)
        plan = replace(plan, bank=registry.bank(plan.bank.base, plan.bank.fingerprint))
    reservation = registry.reserve(plan.bank, plan.profile.name, plan.profile.aliases, plan.rank, request.strategy,
                                   plan.replaced)  # fmt: skip
    with _given_back_on_failure(registry, reservation):
        refuse_another_encoder(registry, spoken.texts.provenance)  # from here on nobody is embedded anew
        stage = stage or set_stage(registry, plan.bank, say=screen.say)
        return _make_and_commit(stage, plan, spoken, reservation, screen, started)


def rehearse(registry: Registry, request: Request, screen: Screen) -> dict[str, Any]:
    """What `onboard` would do, without doing it."""
    return planning.document(_prepared(registry, request, screen)[0])


def _prepared(registry: Registry, request: Request, screen: Screen) -> tuple[Plan, Spoken]:
    """Everything but the model: the request checked, the words embedded, the neighbours found."""
    plan = planning.plan(registry, request, screen.say)
    if is_unfinished(plan.profile):
        screen.say(UNFINISHED)
    texts = texts_of(registry, request.encoder, screen.say)
    words = words_of(registry, plan, texts, screen)
    _refuse_another_reader(plan, texts.provenance)
    plan = planning.with_kin(registry, plan, texts.provenance, words[0])
    if note := kinship.distance(plan.kin):
        screen.say(note)
    return plan, Spoken(texts, words)


def _refuse_another_reader(plan: Plan, encoder: str) -> None:
    """Raises EncoderMismatch when the cohort is to read a persona by another encoder than its members'."""
    if plan.cohort and plan.request.from_profile and fingerprint(plan.cohort.encoder) != fingerprint(encoder):
        raise EncoderMismatch(f"The cohort {plan.cohort.name} reads personas by {plan.cohort.encoder}: leave "
                              f"--from-profile out.")  # fmt: skip


@contextmanager
def _given_back_on_failure(registry: Registry, reservation: Reservation) -> Iterator[None]:
    """Ctrl-C and every error give the range and the names back; a kill leaves a lease that is seen to be dead."""
    try:
        yield
    except BaseException:
        registry.release(reservation)
        raise


def _make_and_commit(
    stage: Stage, plan: Plan, spoken: Spoken, reservation: Reservation, screen: Screen, started: float
) -> dict[str, Any]:
    registry, renew = stage.registry, renewing(stage.registry, [reservation])
    stage.bank.refuse_too_wide(plan.rank)
    refuse_full_disk(stage, plan.rank, MOST_RUNGS_TRAINED if plan.request.strategy == "auto" else 1)
    task = _task(stage, plan, spoken, renew, screen, started)  # a damaged neighbour is told before anything is made
    residents, depth = _residents(registry, plan), _depth(plan)
    screen.say(f"witnessing the residents before: {len(residents)}")
    before = bear_witness(stage, residents, renew, depth)
    with training(registry.layout, plan.digest, plan.request.resume, screen) as kept:
        made = _strategy(plan.request.strategy)(task)
        made, reservation, digest, probes = _stored(stage, plan, made, reservation, spoken, screen)
        screen.say(f"witnessing the residents after: {len(residents)}")
        after = bear_witness(stage, residents, renew, depth)
        finding, readings = compare(before, after), [*first_reading(probes), *read(registry, residents, after)]
        registry.renew(reservation)
        row = registry.commit(reservation, onboarded(stage, plan, made, digest, probes, finding, spoken, readings))
        kept()
    gate = refit_gate(registry, [plan.profile.name], spoken.texts, screen, accept=plan.request.accept_gate)
    return {**_document(row, plan, made, finding, time.monotonic() - started), "gate": gate}


def _depth(plan: Plan) -> Depth:
    """How many residents are witnessed by their logits, too."""
    return QUICK if plan.request.strategy == "fuse" or plan.request.budget is not None else THOROUGH


def _stored(stage: Stage, plan: Plan, made: Made, reservation: Reservation, spoken: Spoken,
            screen: Screen) -> tuple[Made, Reservation, str, list[Probe]]:  # fmt: skip
    """The block's digest and its probes with what they were on this day; ranks that it does not need are given back."""
    if made.block.rank < reservation.ranks.rank:
        reservation = stage.registry.shrink(reservation, made.block.rank)
    digest = store_block(stage, plan, made, reservation)
    probes = measure_probes(stage, plan, digest, reservation, spoken, screen)
    return replace(made, nll_after=baseline(probes)), reservation, digest, probes


def _residents(registry: Registry, plan: Plan) -> list[Character]:
    """Everybody of the bank who stays, the newcomer's parents first."""
    parents, replaced = {each.character.id for each in plan.kin}, plan.replaced and plan.replaced.id
    rows = registry.residents(bank=plan.bank)
    return sorted((row for row in rows if row.id != replaced), key=lambda row: row.id not in parents)


def _entry(stage: Stage, plan: Plan, spoken: Spoken) -> Entry | None:
    """Into the cohort that the plan names.

    Raises:
        CohortDamaged: its files are not what was stored.
    """
    if plan.cohort is None:
        return None
    from recipes.cohort_file import load_cohort
    from recipes.hyper import Entry

    folder = verified_cohort(stage.registry, plan.cohort)
    cohort = load_cohort(folder, base_fingerprint=plan.bank.fingerprint, shapes=stage.base.shapes)
    row = plan.cohort
    if (cohort.name, cohort.version, cohort.encoder) != (row.name, row.version, row.encoder):
        raise CohortDamaged(f"The files of cohort {row.name} version {row.version} are of {cohort.title}: "
                            f"`{how_to_remove(row)}` forgets it.")  # fmt: skip
    cohort.network.to(stage.base.device)
    if not plan.request.from_profile:
        return Entry(cohort, plan.cohort.digest)
    return Entry(cohort, plan.cohort.digest, spoken.persona)


def _task(stage: Stage, plan: Plan, spoken: Spoken, renew: Callable[[], None], screen: Screen, started: float) -> Task:
    """What the strategy is given.

    Raises:
        BlockDamaged, CohortDamaged: what it would start from is not what was stored.
    """
    from recipes.task import Task

    request, checkpoint = plan.request, stage.registry.layout.checkpoint(plan.digest)
    return Task(
        plan.profile.name, stage.bank, stage.form, plan.recipe, plan.to_learn(), plan.heldout(), plan.seed,
        report=reporting(screen, renew), checkpoint=checkpoint,
        neighbours=kinship.neighbours(stage.registry, plan.kin), merging=request.merging, width=plan.width,
        tune=request.tune, until=None if request.budget is None else started + request.budget,
        entry=_entry(stage, plan, spoken), after_cohort=plan.after_cohort,
    )  # fmt: skip


def _strategy(name: str) -> Strategy:
    from recipes.advisor import advise
    from recipes.expansion import expand
    from recipes.fusion import fuse
    from recipes.hyper import hyper

    return {"expand": expand, "fuse": fuse, "hyper": hyper, "auto": advise}[name]


def _document(row: Character, plan: Plan, made: Made, finding: Finding, seconds: float) -> dict[str, Any]:
    return {
        "character": row.name,
        "strategy": row.strategy,
        "rank_start": row.start,
        "rank_stop": row.stop,
        "rank": row.ranks.rank,
        "block": row.block,
        "base": plan.bank.base,
        "replaced": plan.replaced.block if plan.replaced else None,
        "heldout_nll_before": made.nll_before,
        "heldout_nll_after": made.nll_after,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(made.tokens_per_second, 1),
        "parents": [{"character": parent.name, "weight": parent.weight} for parent in made.parents],
        "reason": made.reason,
        **{key: made.details[key] for key in ("merge", "rungs", "cohort") if key in made.details},
        "certificate": {"others": finding.others, "identical": finding.identical},
    }
