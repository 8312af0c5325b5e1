"""One run of an optimizer: schedule, evaluations, early stopping, checkpoints. Knows parameters and a loss; nothing of
what is learned, of blocks or of where files live.

A learner says what its parameters are, what a batch costs, and how good it is; the run keeps the state that was best.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.optim.swa_utils import get_ema_multi_avg_fn

from recipes.memory import keep_freed_memory
from recipes.recipe import Recipe
from registry.errors import TrainingFailed

CHECKPOINT_SECONDS = 10.0


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


Report = Callable[[Progress], None]
Batch = TypeVar("Batch")


class Learner(Protocol[Batch]):
    """What a run trains; the order of its parameters is that of its checkpoints."""

    device: torch.device

    @property
    def probes(self) -> Sequence[object]:
        """What `evaluate` reads."""

    def groups(self) -> list[tuple[list[torch.nn.Parameter], float]]:
        """Parameters, and how many times the recipe's step size theirs is."""

    def epoch(self, number: int) -> list[Batch]:
        """The batches of an epoch in order; as many in every one."""

    def loss(self, batch: Batch, epoch: float) -> torch.Tensor:
        """Of one batch, so many epochs after the start."""

    def tokens(self, batch: Batch) -> int: ...

    def evaluate(self) -> float:
        """NLL of the probes in nats a token; asked only where there are some."""


class Run(Generic[Batch]):
    """AdamW with linear warm-up and decay; stops after `recipe.patience` evaluations without improvement, and goes to
    its end where `recipe.fewest_probes` are not there to evaluate by. What is evaluated and kept is the exponential
    mean of the parameters over the steps (Polyak and Juditsky, 1992)."""

    def __init__(self, learner: Learner[Batch], recipe: Recipe, checkpoint: Path | None = None) -> None:
        self.learner, self.recipe, self._checkpoint = learner, recipe, checkpoint
        groups = learner.groups()
        self._leaves = [leaf for leaves, _ in groups for leaf in leaves]
        self._optimizer = torch.optim.AdamW(
            [{"params": leaves, "pace": pace} for leaves, pace in groups], lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay, fused=True,
        )  # fmt: skip
        self._per_epoch = len(learner.epoch(0))
        self.steps = recipe.epochs * self._per_epoch
        self._judged = len(learner.probes) >= recipe.fewest_probes
        self.state = State()
        self._mean = [leaf.detach().clone() for leaf in self._leaves]  # over the last steps
        self._best = [leaf.clone() for leaf in self._mean]
        self._saved_at = time.monotonic()
        if checkpoint is not None and checkpoint.is_file():
            self._restore(checkpoint)

    def go(self, report: Report = lambda _: None, until: float | None = None) -> State:
        """Train to the end, or till `time.monotonic` has reached `until`; the parameters are then those of the best
        evaluation.

        Raises:
            TrainingFailed: the loss, or its gradient, is no finite number; the last good state is in the checkpoint.
        """
        keep_freed_memory()
        if self.state.step == 0 and self._judged:
            self.state.nll_before = self.learner.evaluate()
            self._remember(self.state.nll_before)
        self._loop(report, until)
        if not self._judged:
            self._best, self.state.best_step = self._mean, self.state.step
        self._take(self._best)
        return self.state

    @torch.no_grad()
    def _take(self, values: list[torch.Tensor]) -> None:
        for leaf, value in zip(self._leaves, values, strict=True):
            leaf.copy_(value)

    def _loop(self, report: Report, until: float | None) -> None:
        nll = self.state.best_nll if self.state.step and self._judged else None
        late = False
        for batch in self._batches():
            if self.state.done or late:
                break
            loss = self.learn(batch)
            late = until is not None and time.monotonic() >= until
            if self._judged and (late or self._evaluation_is_due()):
                nll = self._evaluate()
                self._remember(nll)
            self._save_now_and_then()
            report(Progress(self.state.step, self.steps, loss, self.speed, nll))

    def _evaluation_is_due(self) -> bool:
        """Evenly over an epoch, and at its end."""
        every = max(1, self._per_epoch // self.recipe.evaluations)
        within = self.state.step % self._per_epoch
        return not within or (within % every == 0 and self._per_epoch - within >= every)

    def _average(self) -> None:
        """The mean of all steps, each weighing as much as its number (polynomial-decay averaging of Shamir and Zhang,
        2013, with eta = 1), till that reaches back further than 1 / (1 - averaging) steps; then it decays by that."""
        step = self.state.step
        decay = min(self.recipe.averaging, (step - 1) / (step + 1))
        get_ema_multi_avg_fn(decay)(self._mean, [leaf.detach() for leaf in self._leaves], step)

    def _evaluate(self) -> float:
        """Of the mean over the last steps: it lies lower in a valley whose walls the steps run up and down."""
        leaves = [leaf.detach().clone() for leaf in self._leaves]
        self._take(self._mean)
        try:
            return self.learner.evaluate()
        finally:
            self._take(leaves)

    def _batches(self) -> Iterator[Batch]:
        """Every batch from the current step on."""
        for epoch in range(self.recipe.epochs):
            done = max(0, self.state.step - epoch * self._per_epoch)
            if done < self._per_epoch:
                yield from self.learner.epoch(epoch)[done:]

    def learn(self, batch: Batch) -> float:
        """One step."""
        started = time.monotonic()
        rate = self.recipe.learning_rate * self.schedule(self.state.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["pace"]
        loss = self.learner.loss(batch, self.state.step / self._per_epoch)
        value = loss.item()
        if math.isfinite(value):
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self._leaves, self.recipe.clip).item()
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._fail(value)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.state.step += 1
        self._average()
        self.state.tokens += self.learner.tokens(batch)
        self.state.seconds += time.monotonic() - started
        return value

    def _fail(self, loss: float) -> None:
        """The parameters are still those of the step before: they are kept."""
        kept = ""
        if self._checkpoint is not None and self.state.step:
            self._save()
            kept = f" The state after step {self.state.step} is kept: --resume goes on from there."
        what = f"loss is {loss}" if not math.isfinite(loss) else "gradient is no finite number"
        raise TrainingFailed(
            f"The {what} at step {self.state.step + 1}: lower the step size with "
            f"`--set learning_rate={self.recipe.learning_rate / 3:.1g}`.{kept}"
        )

    def schedule(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero at the last step."""
        warmup = min(self.recipe.warmup_steps, self.steps // 2)
        rising = (step + 1) / warmup if warmup else 1.0
        return min(1.0, rising, (self.steps - step) / max(1, self.steps - warmup))

    @property
    def speed(self) -> float:
        return self.state.tokens / self.state.seconds if self.state.seconds else 0.0

    def _remember(self, nll: float) -> None:
        """Keep the state when it is the best so far; otherwise count towards stopping."""
        if nll < self.state.best_nll:
            self.state.best_nll, self.state.best_step, self.state.worse = nll, self.state.step, 0
            self._best = [leaf.clone() for leaf in self._mean]
        else:
            self.state.worse += 1
            self.state.done = self.state.worse >= self.recipe.patience

    # checkpoints: one safetensors file, renamed into place whole, its state in the metadata

    def _save_now_and_then(self) -> None:
        if self._checkpoint is not None and time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS:
            self._saved_at = time.monotonic()
            self._save()

    def _save(self) -> None:
        assert self._checkpoint is not None
        tensors: dict[str, torch.Tensor] = {}
        for index, (leaf, mean, best) in enumerate(zip(self._leaves, self._mean, self._best, strict=True)):
            moments = self._moments(leaf)
            tensors |= {f"{index}.leaf": leaf.detach(), f"{index}.mean": mean, f"{index}.best": best}
            tensors |= {f"{index}.{key}": moments[key] for key in ("step", "exp_avg", "exp_avg_sq")}
        fresh = self._checkpoint.with_suffix(".partial")
        try:
            self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(save(tensors, metadata={"state": json.dumps(asdict(self.state))}))
            fresh.replace(self._checkpoint)
        except OSError:  # a full disk: the run goes on, and the last whole checkpoint stays
            fresh.unlink(missing_ok=True)

    def _moments(self, leaf: torch.Tensor) -> dict[str, torch.Tensor]:
        """The optimizer's of a leaf; zeros where no loss has had a gradient for it yet."""
        fresh = {key: torch.zeros_like(leaf, requires_grad=False) for key in ("exp_avg", "exp_avg_sq")}
        return self._optimizer.state.get(leaf) or {"step": torch.zeros((), device=leaf.device), **fresh}

    def _restore(self, path: Path) -> None:
        """A checkpoint that cannot be read whole is no checkpoint: the run starts at the beginning."""
        try:
            with safe_open(path, "pt", device=str(self.learner.device)) as file:
                state = State(**json.loads(file.metadata()["state"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            kept = [_kept(tensors, index, leaf) for index, leaf in enumerate(self._leaves)]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return
        for index, (leaf, (value, mean, best, moments)) in enumerate(zip(self._leaves, kept, strict=True)):
            with torch.no_grad():
                leaf.copy_(value)
            self._mean[index], self._best[index] = mean, best
            self._optimizer.state[leaf] = moments
        self.state = state


Kept = tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]


def _kept(tensors: dict[str, torch.Tensor], index: int, leaf: torch.Tensor) -> Kept:
    """What a checkpoint holds of one leaf. Raises KeyError or ValueError when it is not all there."""
    value, mean, best = (tensors[f"{index}.{what}"] for what in ("leaf", "mean", "best"))
    moments = {key: tensors[f"{index}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
    for each in (value, mean, best, moments["exp_avg"], moments["exp_avg_sq"]):
        if each.shape != leaf.shape:
            raise ValueError(f"leaf {index} has another shape in the checkpoint")
    return value, mean, best, moments
