"""The hyper strategy: a newcomer to a cohort learns its embedding e_c, some hundred numbers, with everything else
frozen, and the network writes its block (HyCoRA made continual; the paper trains all its roles at once).
Knows a task and a cohort; nothing of where cohorts are kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from recipes.bank import Bank
from recipes.block import Block
from recipes.cohort_file import Cohort
from recipes.exchanges import Row
from recipes.likelihood import nll_under, reply_logits, score
from recipes.running import Run, State
from recipes.scores import mean_nll, perplexity
from recipes.task import Made, Task
from recipes.training import Talks
from registry.names import counted


@dataclass(frozen=True)
class Entry:
    """What somebody new is for a cohort: the cohort, and the persona it may read (p,)."""

    cohort: Cohort
    digest: str
    persona: torch.Tensor | None = None

    def start(self) -> torch.Tensor:
        """(d_c,) what e_c is before anything is learned: what the persona says, else everybody's mean."""
        return self.cohort.newcomer(self.persona)

    def block(self) -> Block:
        """What the network writes for that."""
        return self.cohort.network.materialised(self.start())

    @property
    def learns(self) -> bool:
        """Whether there is anything to learn by: e_c is read."""
        return self.cohort.network.recipe.writes_something

    @property
    def origin(self) -> str:
        """In words: what it starts from."""
        everybody = f"its {len(self.cohort.members)} members"
        if not self.learns:
            return f"the one block of {everybody}"
        if self.persona is None:
            return f"the mean of {everybody}"
        return (
            "its persona" if self.cohort.network.recipe.ids_left_out else f"its persona beside the mean of {everybody}"
        )

    def card(self) -> dict[str, object]:
        """What is kept of it with whoever came by it."""
        return {"name": self.cohort.name, "version": self.cohort.version, "digest": self.digest,
                "from_profile": self.persona is not None}  # fmt: skip


def hyper(task: Task) -> Made:
    """Learn e_c on the dialogues, from the persona or from everybody's mean, and write the block. Without dialogues, or
    where the cohort has one block for all, it is written as it stands.

    Raises:
        TrainingFailed: the loss is no number any more.
    """
    assert task.entry is not None
    probes, rows = task.probes(), task.rows() if task.train and task.entry.learns else []
    task.entry.cohort.network.to(task.bank.base.device)
    learner = Newcomer(task.bank, task.entry, rows, probes, task.recipe.batch, task.seed)
    before = nll_under(task.bank, None, probes) if probes else None
    run = Run(learner, task.recipe, task.checkpoint) if rows else None
    state = run.go(task.report, task.until) if run else State()
    block = learner.block()
    after = nll_under(task.bank, block, probes) if probes else None
    return Made(block, "hyper", before, after, state.seconds, _reason(task, learner, state, before, after),
                run.speed if run else 0.0, steps=state.step, best_step=state.best_step,
                details={"cohort": task.entry.card()})  # fmt: skip


class Newcomer(Talks):
    """Somebody who learns e_c alone."""

    def __init__(self, bank: Bank, entry: Entry, rows: Sequence[Row], probes: Sequence[Row], batch: int,
                 seed: int) -> None:  # fmt: skip
        super().__init__(rows, batch, seed)
        self.bank, self.network, self.probes = bank, entry.cohort.network, probes
        self.device = bank.base.device
        self.who = nn.Parameter(entry.start().clone())

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        return [([self.who], self.network.recipe.pace_newcomer)]

    def loss(self, batch: list[Row], epoch: float) -> torch.Tensor:
        halves, recipe = self.network(self.who[None]).of(0), self.network.recipe
        with self.bank.using(self.bank.stacked(halves.a, halves.b, recipe.rank, recipe.alpha)):
            said = reply_logits(self.bank.base, batch)
        return functional.cross_entropy(said.logits, said.targets)

    def evaluate(self) -> float:
        with self.bank.using(self.block()):
            return mean_nll(score(self.bank.base, self.probes))

    def block(self) -> Block:
        return self.network.materialised(self.who.detach())


def _reason(task: Task, learner: Newcomer, state: State, before: float | None, after: float | None) -> str:
    assert task.entry is not None
    cohort, start = task.entry.cohort, task.entry.origin
    if state.best_step:
        how = f"learned {learner.who.numel()} numbers in {counted(state.best_step, 'step')} from {start}"
    elif state.step:
        how = f"took {start} as it is, since none of {counted(state.step, 'step')} was better"
    else:
        how = f"took {start} as it is"
    told = f"{cohort.title.capitalize()} wrote the block: {how}"
    if before is None or after is None:
        return f"{told}; nothing could be held out."
    return f"{told}; held-out perplexity {perplexity(before):.2f} -> {perplexity(after):.2f}."
