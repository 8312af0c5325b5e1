"""The transaction of an onboarding (DESIGN 6): validate, reserve, make, commit; whole or not at all.
Knows registry and strategies; nothing of Typer or the terminal.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from neekoctl import kinship, planning
from neekoctl.planning import Plan, Request
from neekoctl.routing import Texts, texts_of
from neekoctl.stage import Stage, set_stage
from registry.blocks import folder_digest
from registry.errors import NeekoError
from registry.roles import refuse_another_encoder
from registry.store import Onboarded, Registry, Reservation
from registry.tables import Character, Parent, Probe, Prototype, Reading

if TYPE_CHECKING:
    from neekoctl.certifying import Finding
    from recipes.exchanges import Messages
    from recipes.running import Progress
    from recipes.task import Made, Neighbour, Strategy

RENEW_SECONDS = 60.0
COPIES_ON_DISK = 6  # a run keeps its factors, two moments, the best state, a checkpoint being renamed, and the block


class Screen(Protocol):
    """Where an onboarding tells how it stands."""

    def say(self, text: str) -> None: ...

    def progress(self, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Spoken:
    """The newcomer's words as the encoder sees them; the first is the role embedding."""

    texts: Texts
    words: list[Prototype]


def onboard(registry: Registry, request: Request, screen: Screen) -> dict[str, Any]:
    """Add a character. Returns the document of DESIGN 9.

    Raises:
        NeekoError: with the reservation given back and nothing else changed.
    """
    started = time.monotonic()
    plan, spoken = _prepared(registry, request, screen)
    _refuse_full_disk(registry, plan.rank)
    stage = None
    if plan.bank.id is None:  # a base that cannot be loaded must not leave an empty bank behind
        stage = set_stage(registry, plan.bank, say=screen.say)
        plan = replace(plan, bank=registry.bank(plan.bank.base, plan.bank.fingerprint))
    reservation = registry.reserve(plan.bank, plan.profile.name, plan.profile.aliases, plan.rank, request.strategy,
                                   plan.replaced)  # fmt: skip
    with _given_back_on_failure(registry, reservation):
        stage = stage or set_stage(registry, plan.bank, say=screen.say)
        return _make_and_commit(stage, plan, spoken, reservation, screen, started)


def rehearse(registry: Registry, request: Request, screen: Screen) -> dict[str, Any]:
    """What `onboard` would do, without doing it."""
    return planning.document(_prepared(registry, request, screen)[0])


def _prepared(registry: Registry, request: Request, screen: Screen) -> tuple[Plan, Spoken]:
    """Everything but the model: the request checked, the words embedded, the neighbours found."""
    plan = planning.plan(registry, request, screen.say)
    texts = texts_of(registry, request.encoder, screen.say)
    words = _prototypes(registry, plan, texts, screen)
    plan = planning.with_kin(registry, plan, texts.provenance, words[0])
    if note := kinship.distance(plan.kin):
        screen.say(note)
    return plan, Spoken(texts, words)


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
    from neekoctl.certifying import QUICK, THOROUGH, bear_witness, compare, first_reading, read
    from neekoctl.measuring import baseline

    registry = stage.registry
    stage.bank.refuse_too_wide(plan.rank)
    neighbours = kinship.neighbours(registry, plan.kin)  # a damaged one is told before anything is made
    hurried = plan.request.strategy == "fuse" or plan.request.budget is not None
    residents, depth = _residents(registry, plan), QUICK if hurried else THOROUGH
    screen.say(f"witnessing the residents before: {len(residents)}")
    renew = _every(RENEW_SECONDS, lambda: registry.renew(reservation))
    before = bear_witness(stage, residents, renew, depth)
    checkpoint = registry.layout.checkpoints / f"{plan.digest}.safetensors"
    until = None if plan.request.budget is None else started + plan.request.budget
    made = _make(stage, plan, neighbours, renew, checkpoint, screen, until)
    if made.block.rank < reservation.ranks.rank:
        reservation = registry.shrink(reservation, made.block.rank)
    digest = _store(stage, plan, made, reservation)
    probes = _measure_probes(stage, plan, digest, reservation, screen)
    made = replace(made, nll_after=baseline(probes))
    for probe, vector in zip(
        probes, spoken.texts.encode([probe.prompt[-1]["content"] for probe in probes]), strict=True
    ):
        probe.vector = vector.astype("<f4").tobytes()
    screen.say(f"witnessing the residents after: {len(residents)}")
    after = bear_witness(stage, residents, renew, depth)
    finding = compare(before, after)
    registry.renew(reservation)
    readings = [*first_reading(probes), *read(registry, residents, after)]
    row = registry.commit(reservation, _onboarded(stage, plan, made, digest, probes, finding, spoken, readings))
    for kept in checkpoint.parent.glob(f"{plan.digest}*"):
        kept.unlink(missing_ok=True)
    gate = _refit_gate(registry, plan, spoken.texts, screen)
    return {**_document(row, plan, made, finding, time.monotonic() - started), "gate": gate}


def _residents(registry: Registry, plan: Plan) -> list[Character]:
    """Everybody of the bank who stays, the newcomer's parents first."""
    parents, replaced = {each.character.id for each in plan.kin}, plan.replaced and plan.replaced.id
    rows = registry.characters(status=("ready",), bank=plan.bank)
    return sorted((row for row in rows if row.id != replaced), key=lambda row: row.id not in parents)


def _make(stage: Stage, plan: Plan, neighbours: list[Neighbour], renew: Callable[[], None], checkpoint: Path,
          screen: Screen, until: float | None) -> Made:  # fmt: skip
    from recipes.exchanges import with_system
    from recipes.task import Task

    request = plan.request
    kept = list(checkpoint.parent.glob(f"{plan.digest}*"))
    for each in [] if request.resume else kept:
        each.unlink(missing_ok=True)
    if request.resume and not kept:
        screen.say("nothing to resume: starting at the beginning")

    def report(progress: Progress) -> None:
        screen.progress(progress)
        renew()

    train = [with_system(plan.system_message, talk.model_dump()["messages"]) for talk in plan.split.train]
    task = Task(plan.profile.name, stage.bank, stage.form, plan.recipe, train, _heldout(plan), request.seed, report,
                checkpoint, neighbours, request.merging, plan.width, request.tune, until)  # fmt: skip
    return _strategy(request.strategy)(task)


def _strategy(name: str) -> Strategy:
    from recipes.advisor import advise
    from recipes.expansion import expand
    from recipes.fusion import fuse

    return {"expand": expand, "fuse": fuse, "auto": advise}[name]


def _heldout(plan: Plan) -> list[Messages]:
    from neekoctl.measuring import heldout_messages

    return [heldout_messages(plan.system_message, [turn.model_dump() for turn in probe.prompt], probe.reference)
            for probe in plan.split.probes]  # fmt: skip


def _store(stage: Stage, plan: Plan, made: Made, reservation: Reservation) -> str:
    """Write the block folder, claim its digest, move it into the store, and return the digest."""
    from recipes.block import save_block

    card = {
        "name": plan.profile.name,
        "system_message": plan.system_message,
        "base_fingerprint": plan.bank.fingerprint,
        "recipe": {"strategy": made.strategy, **_recipe(plan, made)},
        "seed": plan.request.seed,
        "lineage": [vars(parent) for parent in made.parents],
        "data_digests": plan.profile.digests(),
    }
    with stage.registry.blocks.making() as folder:
        save_block(made.block, folder, base=plan.bank.base, card=card, transposed=stage.base.transposed)
        stage.registry.claim(reservation, folder_digest(folder))
        return stage.registry.blocks.put(folder)


def _recipe(plan: Plan, made: Made) -> dict[str, Any]:
    """All that decided how the block was made, as it is kept: what was done, whatever was asked for."""
    request, rank = plan.request, {"rank": made.block.rank, "alpha": made.block.alpha}
    asked = {"asked": request.strategy} if request.strategy != made.strategy else {}
    if made.strategy == "fuse":
        tuned = {"tuned": made.details["merge"]["passes"] > 0, "system_message": plan.recipe.system_message}
        return {**asked, **rank, **request.merging.model_dump(), **tuned}
    start = {"warm_start": request.warm_start if request.strategy == "expand" else "fuse"} if made.parents else {}
    return {**asked, "preset": request.preset, **plan.recipe.model_dump(), **rank, **start}


def _measure_probes(stage: Stage, plan: Plan, digest: str, reservation: Reservation, screen: Screen) -> list[Probe]:
    """Baselines, taken from the stored block: what check will read is what was measured."""
    from neekoctl.measuring import measure

    heldout = _heldout(plan)
    screen.say(f"recording {len(heldout)} probe{'s' * (len(heldout) != 1)}")
    mix = stage.mount(reservation.ranks, digest, plan.profile.name)
    measured = measure(stage, mix, heldout)
    stage.registry.renew(reservation)
    return [
        Probe(character_id=reservation.character_id, position=place, prompt=messages[1:-1],
              reference=messages[-1]["content"], nll=each.score.nll, tokens=each.score.tokens, reply=each.reply,
              reply_text=each.text)
        for place, (messages, each) in enumerate(zip(heldout, measured, strict=True))
    ]  # fmt: skip


def _prototypes(registry: Registry, plan: Plan, texts: Texts, screen: Screen) -> list[Prototype]:
    """What will speak for the newcomer at the gate; the first is the role embedding."""
    from neekoctl.gating import prototypes

    refuse_another_encoder(registry, texts.provenance)
    screen.say("embedding the persona and what is known of it")
    prompts = [turn.content for talk in plan.split.train for turn in talk.messages[::2]]
    return prototypes(plan.profile, prompts, texts)


def _refit_gate(registry: Registry, plan: Plan, texts: Texts, screen: Screen) -> dict[str, Any] | None:
    """A new version of the gate. The character has moved in by now, so a failure here is told and undoes nothing."""
    from neekoctl.gating import refit

    try:
        found = refit(registry, texts, newcomer=plan.profile.name, accept=plan.request.accept_gate)
    except NeekoError as error:
        screen.say(f"the gate stays as it was ({error}): run `neekoctl gate rebuild`")
        return None
    if found["kept"]:
        screen.say(
            f"the gate keeps its version {found['version']}: under a new one {found['accuracy_now']:.0%} of the "
            f"residents' probes would still reach their owners, after {found['accuracy_before']:.0%}; --accept-gate "
            f"takes it"
        )
    return found


def _onboarded(stage: Stage, plan: Plan, made: Made, digest: str, probes: list[Probe], finding: Finding,
               spoken: Spoken, readings: list[Reading]) -> Onboarded:  # fmt: skip
    from neekoctl.measuring import as_read, environment

    measured = ("nll_before", "nll_after", "seconds", "tokens_per_second", "steps", "best_step")
    return Onboarded(
        block=digest,
        description=plan.profile.description(),
        recipe=_recipe(plan, made),
        metrics={**{key: getattr(made, key) for key in measured}, **made.details},
        environment={**environment(stage), "tokens": as_read(stage, _heldout(plan))},
        data_digests=plan.profile.digests(),
        system_message=plan.system_message,
        seed=plan.request.seed,
        reason=made.reason,
        role_embedding=spoken.words[0].vector,
        encoder=spoken.texts.provenance,
        probes=probes,
        prototypes=spoken.words,
        readings=readings,
        parents=[Parent(character_id=0, **vars(parent)) for parent in made.parents],
        others=finding.others,
        identical=finding.identical,
        evidence=finding.evidence,
        strategy=made.strategy,
    )


def _document(row: Character, plan: Plan, made: Made, finding: Finding, seconds: float) -> dict[str, Any]:
    return {
        "character": row.name,
        "strategy": row.strategy,
        "rank_start": row.start,
        "rank_stop": row.stop,
        "rank": row.stop - row.start,
        "block": row.block,
        "base": plan.bank.base,
        "replaced": plan.replaced.block if plan.replaced else None,
        "heldout_nll_before": made.nll_before,
        "heldout_nll_after": made.nll_after,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(made.tokens_per_second, 1),
        "parents": [{"character": parent.name, "weight": parent.weight} for parent in made.parents],
        "reason": made.reason,
        **{key: made.details[key] for key in ("merge", "rungs") if key in made.details},
        "certificate": {"others": finding.others, "identical": finding.identical},
    }


def _refuse_full_disk(registry: Registry, rank: int) -> None:
    """A rough bound before anything is loaded: 1 MiB a rank and copy covers models of several billion parameters."""
    registry.layout.home.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(registry.layout.home).free, COPIES_ON_DISK * rank * 2**20
    if free < needed:
        raise NeekoError(
            f"Only {free / 2**20:.0f} MiB are free under {registry.layout.home}, and this onboarding may need "
            f"{needed / 2**20:.0f}: free some space or set NEEKOCTL_HOME elsewhere."
        )


def _every(seconds: float, action: Callable[[], None]) -> Callable[[], None]:
    """`action`, at most once in `seconds`."""
    last = time.monotonic()

    def sometimes() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            action()

    return sometimes
