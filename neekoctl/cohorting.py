"""The transaction of a cohort: several characters trained at once, each given the block that the network writes for it.
All move in, or nobody does. Knows registry and network; nothing of Typer or the terminal.

Members are residents, or profiles of newcomers. A resident's old block stays in the history: `rollback` brings it back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neekoctl.checks.findings import Checked
from neekoctl.checks.verdicts import Judged
from neekoctl.gathering import Group
from neekoctl.planning import Plan
from neekoctl.routing import texts_of
from neekoctl.settling import (
    Screen,
    Spoken,
    begin,
    heldout,
    measure_probes,
    onboarded,
    refit_gate,
    refuse_full_disk,
    renewing,
    reporting,
    store_block,
    to_learn,
    words_of,
)
from neekoctl.stage import Stage, set_stage
from recipes.scores import Score, mean_nll, perplexity
from registry.cohorts import flush, next_version, put_cohort, sweep
from registry.ranks import RankRange
from registry.store import Onboarded, Registry, Reservation
from registry.tables import Character, Probe, Reading
from registry.tables import Cohort as CohortRow

if TYPE_CHECKING:
    from neekoctl.certifying import Finding
    from recipes.cohort import Learning, Member
    from recipes.cohort_file import Cohort
    from recipes.own_part import Completed
    from recipes.running import State
    from recipes.task import Made


def train(registry: Registry, group: Group, screen: Screen, *, only_better: bool = False) -> dict[str, Any]:
    """Train, write everybody's block, and move them in. `only_better`: only those whose likelihood passes as a check
    would have it; where nobody's does, nothing is kept. Returns what `cohort train --json` prints.

    Raises:
        NeekoError: with every reservation given back and nothing else changed.
    """
    texts = texts_of(registry, group.wanted.encoder, screen.say)
    spoken = [Spoken(texts, words_of(registry, plan, texts, screen)) for plan in group.plans]
    stage = set_stage(registry, group.bank, say=screen.say)
    stage.bank.refuse_too_wide(group.recipe.rank)
    refuse_full_disk(stage, group.recipe.rank * (len(group.plans) + 1))  # the network is about one more block
    group = _with_bank(registry, group)
    with _reserved(registry, group) as reservations:
        run, arrivals, moving, finding = _together(stage, group, spoken, reservations, screen, only_better)
    for path in run.checkpoints:
        path.unlink(missing_ok=True)
    came = [each.plan.profile.name for each in moving if each.plan.replaced is None]
    gate = refit_gate(registry, came, texts, screen, accept=group.wanted.accept_gate) if moving else None
    return {**_document(group, run, arrivals, moving, finding), "gate": gate}


def _together(stage: Stage, group: Group, spoken: Sequence[Spoken], reservations: Sequence[Reservation],
              screen: Screen, only_better: bool) -> tuple[Trained, list[Arrival], list[Arrival], Finding]:  # fmt: skip
    """How the training went, everybody, those of them who move in, and what became of the others."""
    from neekoctl.certifying import THOROUGH, bear_witness, compare, read

    registry = stage.registry
    renew, others = renewing(registry, reservations), _others(registry, group)
    screen.say(f"witnessing the others before: {len(others)}")
    before = bear_witness(stage, others, renew, THOROUGH)
    run = _learned(stage, group, spoken, renew, screen)
    stored = _stored(stage, group, run, spoken, reservations, renew, screen)
    screen.say(f"witnessing the others after: {len(others)}")
    after = bear_witness(stage, others, renew, THOROUGH)
    finding = compare(before, after)
    arrivals = [_arrival(stage, group, each, finding) for each in stored]
    moving = [each for each in arrivals if each.passes or not only_better]
    if moving:
        _commit(registry, group, run, moving, read(registry, others, after))
    for each in arrivals:
        if each not in moving:
            registry.release(each.reservation)
    return run, arrivals, moving, finding


def _with_bank(registry: Registry, group: Group) -> Group:
    """A bank that is not in the database yet is put there once its base was loaded."""
    bank = group.bank if group.bank.id else registry.bank(group.bank.base, group.bank.fingerprint)
    return replace(group, bank=bank, plans=[replace(plan, bank=bank) for plan in group.plans])


@contextmanager
def _reserved(registry: Registry, group: Group) -> Iterator[list[Reservation]]:
    """A range for everybody; on any failure all are given back."""
    with ExitStack() as undo:
        found = []
        for plan in group.plans:
            names, rank = (plan.profile.name, plan.profile.aliases), group.recipe.rank
            found.append(registry.reserve(plan.bank, *names, rank, "hyper", plan.replaced))
            undo.callback(registry.release, found[-1])
        yield found
        undo.pop_all()


@dataclass(frozen=True)
class Trained:
    """A network that has learned, everybody's block, and how it went."""

    learning: Learning
    cohort: Cohort
    blocks: list[Completed]
    state: State
    speed: float
    seconds: float
    checkpoints: list[Path]

    def read(self, place: int) -> list[Score]:
        """How likely a member's probes are under its block."""
        from recipes.likelihood import scored_under

        return scored_under(self.learning.bank, self.blocks[place].block, self.learning.members[place].probes)


def _learned(stage: Stage, group: Group, spoken: Sequence[Spoken], renew: Callable[[], None],
             screen: Screen) -> Trained:  # fmt: skip
    from recipes.cohort import Learning
    from recipes.cohort_file import Cohort
    from recipes.own_part import completed, own_checkpoint, own_parts
    from recipes.running import Run

    started, registry = time.monotonic(), stage.registry
    members = [_member_of(stage, plan, words) for plan, words in zip(group.plans, spoken, strict=True)]
    encoder = spoken[0].texts.provenance if group.recipe.persona else None
    checkpoint = registry.layout.checkpoints / f"{group.digest(encoder)}.safetensors"
    checkpoints = [checkpoint, *(own_checkpoint(checkpoint, place) for place in range(len(members)))]
    begin(checkpoints, group.wanted.resume, screen)
    report, learning = reporting(screen, renew), Learning(stage.bank, members, group.recipe, group.wanted.seed)
    screen.say(f"{len(members)} learn together")
    run = Run(learning, group.recipe, checkpoint)
    state = run.go(report)
    learning.network.requires_grad_(False)
    blocks = completed(learning, own_parts(learning, report, checkpoint, screen.say), screen.say)
    cohort = Cohort(group.wanted.name, next_version(registry, group.wanted.name), learning.network,
                    [each.name for each in members], encoder, learning.personas)  # fmt: skip
    return Trained(learning, cohort, blocks, state, run.speed, time.monotonic() - started, checkpoints)


def _member_of(stage: Stage, plan: Plan, spoken: Spoken) -> Member:
    from recipes.cohort import Member
    from recipes.task import readable

    name, base = plan.profile.name, stage.bank.base
    rows = readable(name, base, [stage.form.row(messages) for messages in to_learn(plan)])
    probes = readable(name, base, [stage.form.row(messages, last_only=True) for messages in heldout(plan)])
    return Member(name, rows, probes, spoken.persona)


@dataclass(frozen=True)
class Arrival:
    """A member's new block, measured; `judged` compares it with the block it has (None: a newcomer)."""

    plan: Plan
    reservation: Reservation
    row: Onboarded
    nll_base: float | None
    nll_after: float | None
    judged: Judged | None

    @property
    def passes(self) -> bool:
        """Whether a check would let the change pass."""
        return self.judged is None or not self.judged.complaints["likelihood"]

    def document(self, moves: bool) -> dict[str, Any]:
        gain, old = self.judged.loss if self.judged else None, self.judged and self.judged.found.then
        kept = None if moves else self.plan.replaced
        ranks = RankRange(kept.start, kept.stop) if kept else self.reservation.ranks
        return {
            "character": self.plan.profile.name, "rank_start": ranks.start, "rank_stop": ranks.stop,
            "block": kept.block if kept else self.row.block, "nll_base": self.nll_base,
            "nll_before": mean_nll(old) if old else None, "nll_after": self.nll_after,
            "forgetting": gain and gain.mean, "interval": gain and [gain.low, gain.high],
            "passes": self.passes, "switched": moves,
        }  # fmt: skip


def _others(registry: Registry, group: Group) -> list[Character]:
    """Everybody of the bank whom the training does not replace."""
    leaving = {plan.replaced.id for plan in group.plans if plan.replaced}
    return [row for row in registry.characters(status=("ready",), bank=group.bank) if row.id not in leaving]


@dataclass(frozen=True)
class Stored:
    """A member's new block in the store, with its probes measured."""

    plan: Plan
    reservation: Reservation
    spoken: Spoken
    made: Made
    digest: str
    probes: list[Probe]


def _stored(stage: Stage, group: Group, run: Trained, spoken: Sequence[Spoken], reservations: Sequence[Reservation],
            renew: Callable[[], None], screen: Screen) -> list[Stored]:  # fmt: skip
    found = []
    for place, (plan, words, reservation) in enumerate(zip(group.plans, spoken, reservations, strict=True)):
        made = _made(stage, plan, run, place)
        digest = store_block(stage, plan, made, reservation)
        probes = measure_probes(stage, plan, digest, reservation, words, screen)
        found.append(Stored(plan, reservation, words, made, digest, probes))
        renew()
    return found


def _made(stage: Stage, plan: Plan, run: Trained, place: int) -> Made:
    from neekoctl.measuring import scored
    from recipes.task import Made

    before, after = mean_nll(scored(stage, {}, heldout(plan))), mean_nll(run.read(place))
    state, known = run.state, bool(plan.split.probes)
    told = f"held-out perplexity {perplexity(before):.2f} -> {perplexity(after):.2f}, " if known else ""
    block, share = run.blocks[place]
    alone = f" but for the {share:.0%} that it learned alone" if share else ""
    reason = (f"{run.cohort.title.capitalize()}, of {len(run.cohort.members)} members, wrote the block{alone}: {told}"
              f"best after step {state.best_step} of {state.step}.")  # fmt: skip
    card = {"name": run.cohort.name, "version": run.cohort.version, "member": True, "own_share": share}
    return Made(block, "hyper", before if known else None, after if known else None, run.seconds,
                reason, run.speed, steps=state.step, best_step=state.best_step, details={"cohort": card})  # fmt: skip


def _arrival(stage: Stage, group: Group, stored: Stored, finding: Finding) -> Arrival:
    from neekoctl.certifying import first_reading

    plan, probes = stored.plan, stored.probes
    row = onboarded(stage, plan, stored.made, stored.digest, probes, finding, stored.spoken, first_reading(probes))
    after = [Score(probe.nll * probe.tokens, probe.tokens) for probe in probes]
    return Arrival(plan, stored.reservation, row, stored.made.nll_before, mean_nll(after) if after else None,
                   _judged(stage, group, plan, after))  # fmt: skip


def _judged(stage: Stage, group: Group, plan: Plan, after: list[Score]) -> Judged | None:
    """The new block against the one the member has, each under its own system message, as a check elsewhere judges
    likelihood: more than tolerated, and no chance. None where there is nothing whole to compare with."""
    from neekoctl.measuring import scored

    old = plan.replaced
    if old is None or not stage.registry.blocks.is_whole(old.block or ""):
        return None
    then = scored(stage, stage.mounted(old), heldout(plan, old.system_message))
    found = Checked(old, then=then, now=after, elsewhere=["another block"])
    return Judged(found, group.wanted.allowed, len(group.plans))


def _commit(registry: Registry, group: Group, run: Trained, moving: Sequence[Arrival],
            readings: list[Reading]) -> None:  # fmt: skip
    """The network into its folder, and everybody, what was read of the others, and the cohort's row in one
    transaction."""
    from recipes.cohort_file import save_cohort

    with registry.blocks.making() as folder:
        shapes = run.learning.bank.base.shapes
        save_cohort(run.cohort, folder, base_fingerprint=group.bank.fingerprint, shapes=shapes)
        row = CohortRow(
            bank_id=group.bank.id or 0, name=run.cohort.name, version=run.cohort.version, kind=group.wanted.kind,
            digest=flush(folder), recipe=group.recipe.model_dump(), seed=group.wanted.seed,
            environment=moving[0].row.environment, encoder=run.cohort.encoder,
            members=[{"name": plan.profile.name} for plan in group.plans],
            metrics={"steps": run.state.step, "best_step": run.state.best_step, "seconds": run.seconds,
                     "nll": None if run.state.nll_before is None else run.state.best_nll, "likeness": _alike(run)},
        )  # fmt: skip
        *first, last = ((each.reservation, each.row) for each in moving)
        last = (last[0], replace(last[1], readings=[*last[1].readings, *readings]))
        try:
            registry.commit_all([*first, last], lambda session: put_cohort(registry, session, row, folder))
        except BaseException:  # its folder may have its place by then
            sweep(registry)
            raise


def _alike(run: Trained) -> list[list[float]]:
    """The cosines of what the network writes; none where it writes nothing."""
    from recipes.hyper_half import likeness

    learning = run.learning
    if not learning.recipe.writes_something:
        return []
    blocks = [learning.block(place) for place in range(len(learning.members))]
    found: list[list[float]] = likeness(blocks, "b" if learning.recipe.generated == "b" else "a").tolist()
    return found


def _document(group: Group, run: Trained, arrivals: Sequence[Arrival], moving: Sequence[Arrival],
              finding: Finding) -> dict[str, Any]:  # fmt: skip
    return {
        "cohort": run.cohort.name,
        "version": run.cohort.version if moving else None,
        "kind": group.wanted.kind,
        "base": group.bank.base,
        "members": [each.document(each in moving) for each in arrivals],
        "steps": run.state.step,
        "best_step": run.state.best_step,
        "seconds": round(run.seconds, 3),
        "tokens_per_second": round(run.speed, 1),
        "certificate": {"others": finding.others, "identical": finding.identical},
    }
