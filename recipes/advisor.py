"""`auto`: climbs from the cheapest way of making a block to the dearest, as far as the data carries it, and stays on
the first that no later one beats. Knows the strategies and held-out likelihood; nothing of the registry or a screen.

A later rung wins only when the paired bootstrap of the held-out likelihoods says so: where it does not, the cheaper
block is the better bargain. How many exchanges a rung needs comes from docs/studies/boundary.md.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from recipes.block import Block
from recipes.exchanges import Row
from recipes.expansion import expand
from recipes.fusion import TUNED_ON, fuse, most_passes
from recipes.hyper import hyper
from recipes.likelihood import ROWS_AT_ONCE, nll_under, scored_under
from recipes.scores import Difference, Score, mean_nll, paired_bootstrap, perplexity
from recipes.task import Made, Task

FEWEST_PROBES = 6  # with fewer, all of them may agree by chance: one time in 2^6 with six
MOST_JUDGED = 64  # replies that a source is judged by
TRAINING_COST = 3.0  # of a pass forward and back, in passes forward


Source = Literal["neighbours", "cohort"]


@dataclass(frozen=True)
class Rung:
    """One way to make a block, called as on the command line; `needs` exchanges to be worth trying."""

    name: str
    needs: int
    source: Source | None  # what it is made or started from
    make: Callable[[Task], Made]
    passes: Callable[[Task], float]  # forward passes over one conversation that it takes


def _fused(task: Task) -> Made:
    return fuse(replace(task, tune=False))


def _tuned(task: Task) -> Made:
    return fuse(replace(task, tune=True))


def _written(task: Task) -> Made:
    return hyper(_with_checkpoint(replace(task, neighbours=()), "hyper"))


def _started(task: Task) -> Made:
    return expand(_with_checkpoint(replace(task, entry=None), "warm"))


def _started_from_cohort(task: Task) -> Made:
    return expand(_with_checkpoint(replace(task, neighbours=()), "cohort"))


def _fresh(task: Task) -> Made:
    return expand(_with_checkpoint(replace(task, neighbours=(), entry=None), "fresh"))


def _with_checkpoint(task: Task, kind: str) -> Task:
    """Two trainings of one onboarding keep their states apart."""
    return replace(task, checkpoint=task.checkpoint and task.checkpoint.with_stem(f"{task.checkpoint.stem}-{kind}"))


def _writing_passes(task: Task) -> float:
    """A cohort of one block for all has nothing to learn for a newcomer."""
    return _training_passes(task) if task.entry and task.entry.learns else 0.0


def _training_passes(task: Task) -> float:
    return TRAINING_COST * task.recipe.epochs * len(task.train)


def _passes_from_cohort(task: Task) -> float:
    return _training_passes(replace(task, recipe=task.expands_by))


LADDER = (
    Rung("fuse", 0, "neighbours", _fused, lambda _: 0.0),
    Rung("hyper", 0, "cohort", _written, _writing_passes),
    Rung("fuse --tune", 3, "neighbours", _tuned, lambda task: most_passes(task) * min(TUNED_ON, len(task.train))),
    Rung("expand --warm-start fuse", 3, "neighbours", _started, _training_passes),
    Rung("expand --warm-start hyper", 3, "cohort", _started_from_cohort, _passes_from_cohort),
    Rung("expand", 48, None, _fresh, _training_passes),
)


def ladder(exchanges: int, probes: int, sources: Collection[Source]) -> list[Rung]:
    """The rungs to climb: those that make sense for so many exchanges to learn from, and whose source is there. Where
    too few probes are left to compare by, only the one that so many exchanges are best served by; without neighbours
    or a cohort only training."""
    if not sources:
        return [LADDER[-1]]
    sensible = [rung for rung in LADDER if rung.needs <= exchanges and (not rung.source or rung.source in sources)]
    return sensible if probes >= FEWEST_PROBES else [rung for rung in sensible if rung.source][-1:]


def at_hand(*, neighbours: bool, cohort: bool) -> list[Source]:
    """What a block could be made from, of what is there."""
    found: dict[Source, bool] = {"neighbours": neighbours, "cohort": cohort}
    return [source for source, there in found.items() if there]


def _at_hand_for(task: Task) -> list[Source]:
    return at_hand(neighbours=bool(task.neighbours), cohort=task.entry is not None)


def _start(task: Task, source: Source) -> Block:
    """What a source gives before anything is trained."""
    if source == "neighbours":
        return _fused(task).block
    assert task.entry is not None
    return task.entry.block()


def _helpful(task: Task, probes: list[Row]) -> list[Source]:
    """The sources whose start finds the newcomer's own replies likelier than the bare base does: all of them are held
    out as long as nothing is trained. What comes from people who speak otherwise is a worse start than none."""
    if not _at_hand_for(task):
        return []
    rows = [*task.rows(), *probes][:MOST_JUDGED]
    base = nll_under(task.bank, None, rows)
    return [each for each in _at_hand_for(task) if nll_under(task.bank, _start(task, each), rows) < base]


def why_alone(exchanges: int, probes: int, sources: Collection[Source]) -> str:
    """Why the ladder has one rung."""
    if not sources:
        return "there is nobody whose block could be used, and no cohort"
    if probes < FEWEST_PROBES:
        replies = f"{probes} held-out {'reply is' if probes == 1 else 'replies are'} too few to compare by"
        return f"{replies}, and {exchanges} exchanges to learn from are best served by it"
    return f"{exchanges} exchanges to learn from are too few for anything dearer"


@dataclass(frozen=True)
class Tried:
    """A rung that was climbed, what it made, and how likely that finds each probe."""

    rung: Rung
    made: Made
    scores: list[Score]
    difference: Difference | None = None  # to the best before it

    @property
    def nll(self) -> float:
        return mean_nll(self.scores)

    def document(self) -> dict[str, Any]:
        gain = asdict(self.difference) if self.difference else {}
        return {"rung": self.rung.name, "nll": self.nll, "seconds": round(self.made.seconds, 3), **gain}


def advise(task: Task) -> Made:
    """Climb, compare, and give back the block of the rung that was taken, with the reason.

    Raises:
        NeekoError: there is neither anybody to fuse nor anything to train on.
    """
    probes = task.probes()
    unasked = len(probes) >= FEWEST_PROBES or not task.train  # so many tell by themselves; or there is nothing else
    helpful = _at_hand_for(task) if unasked else _helpful(task, probes)
    rungs = ladder(task.exchanges, len(probes), helpful)
    if len(rungs) == 1:
        return _unopposed(task, rungs[0], len(probes), helpful)
    started = time.monotonic()
    base = scored_under(task.bank, None, probes)
    pace = (time.monotonic() - started) / len(probes)  # seconds of one conversation's pass forward
    best, tried, told = _climbed(task, rungs, probes, pace)
    details = {
        **best.made.details,
        "asked": "auto",
        "probes": len(probes),
        "rungs": [each.document() for each in tried],
    }
    reason = f"auto took {best.rung.name} on {len(probes)} held-out replies: {'; '.join(told)}."
    return replace(best.made, nll_before=mean_nll(base), nll_after=best.nll, reason=reason,
                   seconds=time.monotonic() - started, details=details)  # fmt: skip


def _climbed(task: Task, rungs: Sequence[Rung], probes: list[Row], pace: float) -> tuple[Tried, list[Tried], list[str]]:
    """The rung to stay on, all that were climbed, and what is to be said of each. The first costs next to nothing."""
    best = _try(task, rungs[0], probes, None)
    tried, told = [best], [f"{best.rung.name} has perplexity {perplexity(best.nll):.2f}"]
    for rung in rungs[1:]:
        if (wanted := rung.passes(task) * pace) > _left(task):
            told.append(f"{rung.name} would take {wanted:.0f} s, more than the budget has left")
            continue
        this = _try(task, rung, probes, best)
        tried.append(this)
        told.append(_told(this, best))
        if this.difference and this.difference.low > 0:
            best = this
    return best, tried, told


def _try(task: Task, rung: Rung, probes: list[Row], best: Tried | None) -> Tried:
    made = rung.make(task)
    scores = scored_under(task.bank, made.block, probes)
    return Tried(rung, made, scores, paired_bootstrap(best.scores, scores) if best else None)


def _left(task: Task) -> float:
    return float("inf") if task.until is None else task.until - time.monotonic()


def _unopposed(task: Task, rung: Rung, probes: int, helpful: Sequence[Source]) -> Made:
    """One rung alone is possible, or nothing would tell two apart."""
    if helpful or not _at_hand_for(task):
        why = why_alone(task.exchanges, probes, helpful)
    else:
        why = "the bare base finds the newcomer's replies likelier than anybody's block or a cohort would"
    if "neighbours" in helpful and rung.passes(task) and rung.passes(task) * _pace(task) > _left(task):
        rung, why = LADDER[0], f"{rung.name} would take more than the budget has left"
    made = rung.make(task)
    details = {**made.details, "asked": "auto", "probes": probes, "rungs": [{"rung": rung.name}]}
    return replace(made, reason=f"auto took {rung.name}: {why}. {made.reason}", details=details)


def _pace(task: Task) -> float:
    """Seconds of one conversation's pass forward."""
    if task.until is None:
        return 0.0
    started, some = time.monotonic(), task.rows()[:ROWS_AT_ONCE]
    scored_under(task.bank, None, some)
    return (time.monotonic() - started) / len(some)


def _told(this: Tried, best: Tried) -> str:
    gain = this.difference
    assert gain is not None
    verdict = "beats" if gain.low > 0 else "does not beat"
    return (
        f"{this.rung.name} ({perplexity(this.nll):.2f}) {verdict} {best.rung.name}: {gain.mean:+.3f} nats a token "
        f"[{gain.low:+.3f}, {gain.high:+.3f}]"
    )
