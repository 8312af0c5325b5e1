"""Trains one block on token rows, and keeps the state that brought the best held-out likelihood.
Knows the bank, rows and checkpoints; nothing of characters, strategies or where files live.

Only the fresh block's factors are Parameters of the optimizer and leaves of the graph: the base is frozen, and no
other block is mounted.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.nn import functional

from recipes.bank import Bank
from recipes.block import Block
from recipes.exchanges import Row
from recipes.likelihood import reply_logits, score
from recipes.recipe import Recipe
from recipes.scores import mean_nll
from registry.errors import TrainingFailed

CHECKPOINT_SECONDS = 10.0
WINDOW = 4  # batches sorted by length together: little padding, and the order stays random


@dataclass(frozen=True)
class Progress:
    """Where a training stands; tokens are real ones, padding not counted."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    heldout_nll: float | None


@dataclass
class State:
    """All that a run needs to go on, besides the tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # in optimizer steps, evaluations left out
    nll_before: float | None = None
    best_nll: float = math.inf
    best_step: int = 0
    worse: int = 0  # evaluations since the best
    done: bool = False


@dataclass(frozen=True)
class Trained:
    """The best block, and how it came about; NLL in nats a token, None without held-out rows."""

    block: Block
    nll_before: float | None
    nll_after: float | None
    steps: int
    best_step: int
    seconds: float
    tokens_per_second: float


Report = Callable[[Progress], None]


def train(
    bank: Bank,
    block: Block,
    rows: Sequence[Row],
    heldout: Sequence[Row],
    recipe: Recipe,
    *,
    seed: int,
    report: Report = lambda _: None,
    checkpoint: Path | None = None,
    until: float | None = None,
) -> Trained:
    """Train `block` from where it stands (or from the checkpoint, when that file exists) and return the best state.

    AdamW with linear warm-up and decay; stops early after `recipe.patience` evaluations without improvement, or once
    `time.monotonic` has reached `until`.

    Raises:
        TrainingFailed: the loss is no finite number.
    """
    run = _Run(bank, block, rows, heldout, recipe, seed, checkpoint)
    with bank.using(run.block):
        run.begin()
        run.loop(report, until)
    return run.result()


class _Run:
    """One training run: the block's Parameters, the optimizer, and the state."""

    def __init__(self, bank: Bank, block: Block, rows: Sequence[Row], heldout: Sequence[Row], recipe: Recipe,
                 seed: int, checkpoint: Path | None) -> None:  # fmt: skip
        self.bank, self.rows, self.heldout = bank, list(rows), heldout
        self.recipe, self.seed, self.checkpoint = recipe, seed, checkpoint
        self.block = bank.pack(block).mapped(lambda leaf: leaf.detach().clone().requires_grad_())
        self.leaves = self.block.leaves
        self.optimizer = torch.optim.AdamW(
            self.leaves, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.per_epoch = math.ceil(len(self.rows) / recipe.batch)
        self.steps = recipe.epochs * self.per_epoch
        self.state = State()
        self.best = [leaf.detach().clone() for leaf in self.leaves]
        self.saved_at = time.monotonic()
        if checkpoint is not None and checkpoint.is_file():
            self.restore(checkpoint)

    def begin(self) -> None:
        """Where the block stands before the first step; a resumed run knows it already."""
        if self.heldout and self.state.step == 0:
            self.state.nll_before = self.evaluate()
            self.remember(self.state.nll_before)

    def loop(self, report: Report, until: float | None) -> None:
        every = max(1, self.per_epoch // self.recipe.evaluations)
        nll = None if self.state.step == 0 else self.state.best_nll
        late = False
        for batch in self.batches():
            if self.state.done or late:
                break
            loss = self.learn(batch)
            late = until is not None and time.monotonic() >= until
            last = late or self.state.step % self.per_epoch == 0
            within = self.state.step % self.per_epoch
            if self.heldout and (last or (within % every == 0 and self.per_epoch - within >= every)):
                nll = self.evaluate()
                self.remember(nll)
            self.save_now_and_then()
            report(Progress(self.state.step, self.steps, loss, self.speed, nll))

    def batches(self) -> Iterator[list[Row]]:
        """Every batch from the current step on; the order depends on the seed and the epoch alone."""
        size = self.recipe.batch
        for epoch in range(self.recipe.epochs):
            order = random.Random(f"{self.seed}:{epoch}")
            rows = self.rows.copy()
            order.shuffle(rows)
            batches: list[list[Row]] = []
            for start in range(0, len(rows), WINDOW * size):
                window = sorted(rows[start : start + WINDOW * size], key=lambda row: len(row.tokens))
                batches += [window[at : at + size] for at in range(0, len(window), size)]
            order.shuffle(batches)
            yield from batches[max(0, self.state.step - epoch * self.per_epoch) :]

    def learn(self, batch: list[Row]) -> float:
        started = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self.schedule(self.state.step)
        logits, targets, _ = reply_logits(self.bank.base, batch)
        loss = functional.cross_entropy(logits, targets)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingFailed(
                f"The loss is {value} at step {self.state.step + 1}: lower the step size with "
                f"`--set learning_rate={self.recipe.learning_rate / 3:.1g}`."
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.leaves, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        self.state.tokens += sum(len(row.tokens) for row in batch)
        self.state.seconds += time.monotonic() - started
        return value

    def schedule(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero at the last step."""
        warmup = min(self.recipe.warmup_steps, self.steps // 2)
        rising = (step + 1) / warmup if warmup else 1.0
        return min(1.0, rising, (self.steps - step) / max(1, self.steps - warmup))

    @property
    def speed(self) -> float:
        return self.state.tokens / self.state.seconds if self.state.seconds else 0.0

    def evaluate(self) -> float:
        return mean_nll(score(self.bank.base, self.heldout))

    def remember(self, nll: float) -> None:
        """Keep the state when it is the best so far; otherwise count towards stopping."""
        if nll < self.state.best_nll:
            self.state.best_nll, self.state.best_step, self.state.worse = nll, self.state.step, 0
            self.best = [leaf.detach().clone() for leaf in self.leaves]
        else:
            self.state.worse += 1
            self.state.done = self.state.worse >= self.recipe.patience

    def result(self) -> Trained:
        best = self.best if self.heldout else [leaf.detach() for leaf in self.leaves]
        kept = {id(leaf): kept for leaf, kept in zip(self.leaves, best, strict=True)}
        done = self.bank.unpack(self.block.mapped(lambda leaf: kept[id(leaf)]))
        after = self.state.best_nll if self.heldout else None
        state = self.state
        return Trained(done, state.nll_before, after, state.step, state.best_step, state.seconds, self.speed)

    # checkpoints: one safetensors file, renamed into place whole, its state in the metadata

    def save_now_and_then(self) -> None:
        if self.checkpoint is None or time.monotonic() - self.saved_at < CHECKPOINT_SECONDS:
            return
        self.saved_at = time.monotonic()
        tensors: dict[str, torch.Tensor] = {}
        for index, (leaf, best) in enumerate(zip(self.leaves, self.best, strict=True)):
            moments = self.optimizer.state[leaf]
            tensors |= {f"{index}.leaf": leaf.detach(), f"{index}.best": best}
            tensors |= {f"{index}.{key}": moments[key] for key in ("step", "exp_avg", "exp_avg_sq")}
        fresh = self.checkpoint.with_suffix(".partial")
        try:
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(save(tensors, metadata={"state": json.dumps(asdict(self.state))}))
            fresh.replace(self.checkpoint)
        except OSError:  # a full disk: the run goes on, and the last whole checkpoint stays
            fresh.unlink(missing_ok=True)

    def restore(self, path: Path) -> None:
        """A checkpoint that cannot be read whole is no checkpoint: the run starts at the beginning."""
        try:
            with safe_open(path, "pt", device=str(self.bank.base.device)) as file:
                state = State(**json.loads(file.metadata()["state"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            kept = [self._kept(tensors, index, leaf) for index, leaf in enumerate(self.leaves)]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return
        for index, (leaf, (value, best, moments)) in enumerate(zip(self.leaves, kept, strict=True)):
            with torch.no_grad():
                leaf.copy_(value)
            self.best[index] = best
            self.optimizer.state[leaf] = moments
        self.state = state

    @staticmethod
    def _kept(
        tensors: dict[str, torch.Tensor], index: int, leaf: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """What a checkpoint holds of one leaf. Raises KeyError or ValueError when it is not all there."""
        value, best = tensors[f"{index}.leaf"], tensors[f"{index}.best"]
        moments = {key: tensors[f"{index}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        for each in (value, best, moments["exp_avg"], moments["exp_avg_sq"]):
            if each.shape != leaf.shape:
                raise ValueError(f"leaf {index} has another shape in the checkpoint")
        return value, best, moments
