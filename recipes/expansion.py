"""Expansion: a fresh block, trained on the newcomer's dialogues alone (Neeko, arXiv 2402.13717, section 3.4).
Knows nothing of other characters: no other block is in the graph, or mounted at all."""

from recipes.block import fresh_block
from recipes.exchanges import Row
from recipes.likelihood import perplexity
from recipes.task import Made, Task
from recipes.training import Trained, train
from registry.errors import NeekoError


def expand(task: Task) -> Made:
    """Train a fresh block from LoRA's initial state.

    Raises:
        NeekoError: every conversation holds a held-out prompt, so there is nothing to train on.
        TrainingFailed: the loss is no number any more.
    """
    if not task.train:
        raise NeekoError(
            f"{task.name} has too few dialogues: nothing is left to train on once probes are kept aside; add some more."
        )
    block = fresh_block(task.bank.base.shapes, task.recipe.rank, task.recipe.alpha, task.seed)
    rows = [task.form.row(messages) for messages in task.train]
    heldout = [task.form.row(messages, last_only=True) for messages in task.heldout]
    if (longest := max(len(row.tokens) for row in [*rows, *heldout])) > task.bank.base.longest:
        raise NeekoError(
            f"A conversation of {task.name} has {longest} tokens and {task.bank.base.name} reads at most "
            f"{task.bank.base.longest}: split it into shorter ones."
        )
    done = train(task.bank, block, rows, heldout, task.recipe, seed=task.seed, report=task.report,
                 checkpoint=task.checkpoint)  # fmt: skip
    return Made(done.block, done.nll_before, done.nll_after, done.seconds, done.tokens_per_second, _reason(done, rows),
                steps=done.steps, best_step=done.best_step)  # fmt: skip


def _reason(done: Trained, rows: list[Row]) -> str:
    if done.nll_before is None or done.nll_after is None:
        return f"Trained a fresh block on {len(rows)} conversations for {done.steps} steps; nothing could be held out."
    if done.best_step == 0:
        return f"No step of {done.steps} improved the held-out likelihood, so the block is left at its start, neutral."
    return (
        f"Trained a fresh block on {len(rows)} conversations: held-out perplexity {perplexity(done.nll_before):.2f} -> "
        f"{perplexity(done.nll_after):.2f}, best after step {done.best_step} of {done.steps}."
    )
