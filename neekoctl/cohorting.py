"""The transaction of a cohort: several characters trained at once, each given the block that the network writes for it.
All move in, or nobody does. Knows registry and network; nothing of Typer or the terminal.

Members are residents, or profiles of newcomers. A resident's old block stays in the history: `rollback` brings it back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from neekoctl.candidate import Candidate
from neekoctl.certifying import THOROUGH, Finding, Witness, bear_witness, compare, first_reading, read
from neekoctl.checks.findings import Checked
from neekoctl.checks.verdicts import Judged
from neekoctl.gathering import Group
from neekoctl.measuring import baseline, recorded, scored
from neekoctl.routing import texts_of
from neekoctl.settling import Spoken, measure_probes, onboarded, refit_gate, store_block, words_of
from neekoctl.stage import Stage, set_stage
from neekoctl.underway import Screen, refuse_full_disk, renewing, reporting, training
from recipes.scores import Score, mean_nll, perplexity
from registry.cohorts import flush, next_version, put_cohort, sweep
from registry.roles import refuse_another_encoder
from registry.scratch import scratch
from registry.store import Onboarded, Registry, Reservation
from registry.tables import Character, Probe, Reading
from registry.tables import Cohort as CohortRow

if TYPE_CHECKING:
    from pathlib import Path

    from recipes.cohort import Learning, Member
    from recipes.cohort_file import Cohort
    from recipes.own_part import Completed
    from recipes.running import State
    from recipes.task import Made


def train(registry: Registry, group: Group, screen: Screen) -> dict[str, Any]:
    """Train, write everybody's block, and move them in; in an upgrade only those whose likelihood passes as a check
    would have it, and where nobody's does, nothing is kept. Returns what `cohort train --json` prints.

    Raises:
        NeekoError: with every reservation given back and nothing else changed.
    """
    texts = texts_of(registry, group.wanted.encoder, screen.say)
    spoken = [Spoken(texts, words_of(registry, candidate, texts, screen)) for candidate in group.candidates]
    stage = set_stage(registry, group.bank, say=screen.say)
    stage.bank.refuse_too_wide(group.recipe.rank)
    refuse_full_disk(stage, group.recipe.rank * (len(group.candidates) + 1))  # the network is about one more block
    group = _with_bank(registry, group)
    with _reserved(registry, group) as reservations:
        refuse_another_encoder(registry, texts.provenance)  # from here on nobody is embedded anew
        run, arrivals, moving, finding = _together(stage, group, spoken, reservations, screen)
    came = [each.candidate.profile.name for each in moving if each.candidate.replaced is None]
    gate = refit_gate(registry, came, texts, screen, accept=group.wanted.accept_gate) if moving else None
    return {**_document(group, run, arrivals, moving, finding), "gate": gate}


def _together(stage: Stage, group: Group, spoken: Sequence[Spoken], reservations: Sequence[Reservation],
              screen: Screen) -> tuple[Training, list[Arrival], list[Arrival], Finding]:  # fmt: skip
    """How the training went, everybody, those of them who move in, and what became of the others."""
    registry, name = stage.registry, group.digest(_encoder(group, spoken))
    renew, residents = renewing(registry, reservations), registry.residents(bank=group.bank)
    screen.say(f"witnessing the residents before: {len(residents)}")
    before = bear_witness(stage, residents, renew, THOROUGH)
    with training(registry.layout, name, group.wanted.resume, screen) as kept:
        run = _learned(stage, group, spoken, renew, screen, registry.layout.checkpoint(name))
        arrivals = _arrivals(stage, group, run, spoken, reservations, renew, screen)
        moving = [each for each in arrivals if each.passes or not group.upgrades]
        finding, readings = _certified(stage, residents, before, moving, renew, screen)
        for each in arrivals:
            if each not in moving:
                registry.release(each.reservation)
        if moving:
            _commit(stage, group, run, moving, finding, readings)
            kept()
        elif registry.layout.checkpoints_of(name):
            screen.say("Nobody may switch. The training is kept: --resume with another --tolerance judges it again.")
    return run, arrivals, moving, finding


def _encoder(group: Group, spoken: Sequence[Spoken]) -> str | None:
    """Whose personas the network reads, if any."""
    return spoken[0].texts.provenance if group.recipe.persona else None


def _with_bank(registry: Registry, group: Group) -> Group:
    """A bank that is not in the database yet is put there once its base was loaded."""
    bank = group.bank if group.bank.id else registry.bank(group.bank.base, group.bank.fingerprint)
    return replace(group, bank=bank, candidates=[replace(each, bank=bank) for each in group.candidates])


@contextmanager
def _reserved(registry: Registry, group: Group) -> Iterator[list[Reservation]]:
    """A range for everybody; on any failure all are given back."""
    with ExitStack() as undo:
        found = []
        for candidate in group.candidates:
            names, rank = (candidate.profile.name, candidate.profile.aliases), group.recipe.rank
            found.append(registry.reserve(candidate.bank, *names, rank, "hyper", candidate.replaced))
            undo.callback(registry.release, found[-1])
        yield found
        undo.pop_all()


@dataclass(frozen=True)
class Training:
    """A network that has learned, everybody's block, and how it went."""

    learning: Learning
    cohort: Cohort
    blocks: list[Completed]
    state: State
    speed: float
    seconds: float

    def read(self, place: int) -> list[Score]:
        """How likely a member's probes are under its block."""
        from recipes.likelihood import scored_under

        return scored_under(self.learning.bank, self.blocks[place].block, self.learning.members[place].probes)


def _learned(stage: Stage, group: Group, spoken: Sequence[Spoken], renew: Callable[[], None], screen: Screen,
             checkpoint: Path) -> Training:  # fmt: skip
    from recipes.cohort import Learning
    from recipes.cohort_file import Cohort
    from recipes.own_part import completed, own_parts
    from recipes.running import Run

    started, registry = time.monotonic(), stage.registry
    members = [_member_of(stage, candidate, words) for candidate, words in zip(group.candidates, spoken, strict=True)]
    report, learning = reporting(screen, renew), Learning(stage.bank, members, group.recipe, group.wanted.seed)
    screen.say(f"{len(members)} learn together")
    run = Run(learning, group.recipe, checkpoint)
    state = run.go(report)
    learning.network.requires_grad_(False)
    blocks = completed(learning, own_parts(learning, report, checkpoint, screen.say), screen.say)
    cohort = Cohort(group.wanted.name, next_version(registry, group.wanted.name), learning.network,
                    [each.name for each in members], _encoder(group, spoken), learning.personas)  # fmt: skip
    return Training(learning, cohort, blocks, state, run.speed, time.monotonic() - started)


def _member_of(stage: Stage, candidate: Candidate, spoken: Spoken) -> Member:
    from recipes.cohort import Member
    from recipes.task import readable

    name, base = candidate.profile.name, stage.bank.base
    rows = readable(name, base, [stage.form.row(messages) for messages in candidate.to_learn()])
    probes = readable(name, base, [stage.form.row(messages, last_only=True) for messages in candidate.heldout()])
    return Member(name, rows, probes, spoken.persona)


@dataclass(frozen=True)
class Arrival:
    """A member's new block in the store, measured; `judged` compares it with the block it has (None: a newcomer)."""

    candidate: Candidate
    reservation: Reservation
    spoken: Spoken
    made: Made
    digest: str
    probes: list[Probe]
    judged: Judged | None

    @property
    def passes(self) -> bool:
        """Whether a check would let the change pass; what no probe judges does not."""
        return self.judged is None or bool(self.judged.found.then) and not self.judged.complaints["likelihood"]

    def document(self, moves: bool) -> dict[str, Any]:
        gain, old = self.judged.loss if self.judged else None, self.judged and self.judged.found.then
        kept = None if moves else self.candidate.replaced
        ranks = kept.ranks if kept else self.reservation.ranks
        return {
            "character": self.candidate.profile.name, "rank_start": ranks.start, "rank_stop": ranks.stop,
            "block": kept.block if kept else self.digest, "nll_base": self.made.nll_before,
            "nll_before": mean_nll(old) if old else None, "nll_after": baseline(self.probes),
            "forgetting": gain and gain.mean, "interval": gain and [gain.low, gain.high],
            "passes": self.passes, "switched": moves,
        }  # fmt: skip


def _certified(stage: Stage, residents: list[Character], before: Sequence[Witness], moving: Sequence[Arrival],
               renew: Callable[[], None], screen: Screen) -> tuple[Finding, list[Reading]]:  # fmt: skip
    """What became of those whom nobody replaces; a member who keeps its block is one of them."""
    screen.say(f"witnessing the residents after: {len(residents)}")
    after = bear_witness(stage, residents, renew, THOROUGH)  # the same list: of the first of it logits are taken
    leaving = {each.candidate.replaced.id for each in moving if each.candidate.replaced}
    stay = [place for place, row in enumerate(residents) if row.id not in leaving]
    first, last = ([each[place] for place in stay] for each in (before, after))
    return compare(first, last), read(stage.registry, [residents[place] for place in stay], last)


def _arrivals(stage: Stage, group: Group, run: Training, spoken: Sequence[Spoken], reservations: Sequence[Reservation],
              renew: Callable[[], None], screen: Screen) -> list[Arrival]:  # fmt: skip
    found = []
    for place, (candidate, words, reservation) in enumerate(zip(group.candidates, spoken, reservations, strict=True)):
        made = _made(stage, candidate, run, place)
        digest = store_block(stage, candidate, made, reservation)
        probes = measure_probes(stage, candidate, digest, reservation, words, screen)
        if candidate.replaced:
            _keep_routes(stage.registry, candidate.replaced, candidate.profile.name, probes)
        judged = _judged(stage, group, candidate, probes)
        found.append(Arrival(candidate, reservation, words, made, digest, probes, judged))
        renew()
    return found


def _keep_routes(registry: Registry, replaced: Character, name: str, probes: Sequence[Probe]) -> None:
    """A member lived here before: what the gate did with its questions on its first day is what is to be kept."""
    known = {json.dumps(probe.prompt): probe for probe in registry.probes(replaced)}
    for probe in probes:
        if old := known.get(json.dumps(probe.prompt)):
            probe.routed = name if old.routed == replaced.name else old.routed
            probe.routed_by = old.routed_by


def _made(stage: Stage, candidate: Candidate, run: Training, place: int) -> Made:
    from recipes.task import Made

    before, after = mean_nll(scored(stage, {}, candidate.heldout())), mean_nll(run.read(place))
    state, known = run.state, bool(candidate.split.probes)
    told = f"held-out perplexity {perplexity(before):.2f} -> {perplexity(after):.2f}, " if known else ""
    block, share = run.blocks[place]
    alone = f" but for the {share:.0%} that it learned alone" if share else ""
    reason = (f"{run.cohort.title.capitalize()}, of {len(run.cohort.members)} members, wrote the block{alone}: {told}"
              f"best after step {state.best_step} of {state.step}.")  # fmt: skip
    card = {"name": run.cohort.name, "version": run.cohort.version, "member": True, "own_share": share}
    return Made(block, "hyper", before if known else None, after if known else None, run.seconds,
                reason, run.speed, steps=state.step, best_step=state.best_step, details={"cohort": card})  # fmt: skip


def _judged(stage: Stage, group: Group, candidate: Candidate, probes: Sequence[Probe]) -> Judged | None:
    """The new block against the one the member has, each under its own system message, as a check elsewhere judges
    likelihood: more than tolerated, and no chance. None where there is nothing whole to compare with."""
    old = candidate.replaced
    if old is None or not stage.registry.blocks.is_whole(old.block or ""):
        return None
    then = scored(stage, stage.mounted(old), candidate.heldout(old.system_message))
    found = Checked(old, then=then, now=recorded(probes), elsewhere=["another block"])
    return Judged(found, group.wanted.allowed, sum(each.replaced is not None for each in group.candidates))


def _commit(stage: Stage, group: Group, run: Training, moving: Sequence[Arrival], finding: Finding,
            readings: list[Reading]) -> None:  # fmt: skip
    """The network into its folder, and everybody, what was read of the others, and the cohort's row in one
    transaction."""
    from recipes.cohort_file import save_cohort

    registry, rows = stage.registry, [_row(stage, each, finding) for each in moving]
    with scratch(registry.layout, "cohort") as folder:
        shapes = run.learning.bank.base.shapes
        save_cohort(run.cohort, folder, base_fingerprint=group.bank.fingerprint, shapes=shapes)
        row = CohortRow(
            bank_id=group.bank.id or 0, name=run.cohort.name, version=run.cohort.version, kind=group.wanted.kind,
            digest=flush(folder), recipe=group.recipe.model_dump(), seed=group.wanted.seed,
            environment=rows[0].environment, encoder=run.cohort.encoder,
            members=[{"name": candidate.profile.name} for candidate in group.candidates],
            metrics={"steps": run.state.step, "best_step": run.state.best_step, "seconds": run.seconds,
                     "nll": None if run.state.nll_before is None else run.state.best_nll, "likeness": _alike(run)},
        )  # fmt: skip
        rows[-1] = replace(rows[-1], readings=[*rows[-1].readings, *readings])
        arrivals = [(each.reservation, row) for each, row in zip(moving, rows, strict=True)]
        try:
            put = partial(put_cohort, registry, row=row, folder=folder, first=not group.upgrades)
            registry.commit_all(arrivals, put)
        except BaseException:  # its folder may have its place by then
            sweep(registry)
            raise


def _row(stage: Stage, arrival: Arrival, finding: Finding) -> Onboarded:
    probes = arrival.probes
    return onboarded(stage, arrival.candidate, arrival.made, arrival.digest, probes, finding, arrival.spoken,
                     first_reading(probes))  # fmt: skip


def _alike(run: Training) -> list[list[float]]:
    """The cosines of what the network writes; none where it writes nothing."""
    from recipes.hyper_half import likeness

    learning = run.learning
    if not learning.recipe.writes_something:
        return []
    blocks = [learning.block(place) for place in range(len(learning.members))]
    found: list[list[float]] = likeness(blocks, "b" if learning.recipe.generated == "b" else "a").tolist()
    return found


def _document(group: Group, run: Training, arrivals: Sequence[Arrival], moving: Sequence[Arrival],
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
