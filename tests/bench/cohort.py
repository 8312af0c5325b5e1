"""A cohort beside a shared LoRA: a step of training on the same batch, the time to write one character's block and add
its own part to it, and decoding under such a block. The members are the four starter characters."""

import time
from collections.abc import Callable
from typing import Any

import torch

from recipes.bank import Bank
from recipes.block import Block, Pair, fresh_block
from recipes.cohort import Learning, Member
from recipes.cohort_recipe import load_cohort_recipe
from recipes.engine import replies
from recipes.exchanges import PromptForm
from recipes.own_part import completed
from recipes.running import Run
from registry.ranks import RankRange
from tests.bench.figure import Figure, embedded_base, interleaved
from tests.bench.training import _rows

STARTERS = ("beethoven", "cleopatra", "holmes", "lovelace")
RUNS, WRITTEN = 8, 5
STEP, WRITE, DECODE = 1.25, 100.0, 1.05


def measure() -> list[Figure]:
    bank = Bank(embedded_base())
    form = PromptForm(bank.base.tokenizer)
    members = [Member(slug, _rows(slug, form), []) for slug in STARTERS]
    hycora, shared = (_run(bank, members, kind) for kind in ("hycora", "shared"))
    batch = hycora.learner.epoch(0)[0]
    step = interleaved(RUNS, ours=lambda: hycora.learn(batch), theirs=lambda: shared.learn(batch))
    peer = f"a shared LoRA's step on the same batch ({1000 * step['theirs']:.0f} ms, ours {1000 * step['ours']:.0f} ms)"
    return [
        Figure("a step of a cohort's training", step["ours"] / step["theirs"], STEP, "x", peer),
        Figure("writing one character's block, own part added", 1000 * _written(hycora.learner), WRITE, "ms", "none"),
        _decoding(bank, form, hycora.learner.block(0)),
    ]


def _run(bank: Bank, members: list[Member], kind: str) -> Run[Any]:
    recipe = load_cohort_recipe(kind, [])
    return Run(Learning(bank, members, recipe, seed=0), recipe)


def _written(learning: Learning) -> float:
    """Nobody has probes here, so nothing is weighed."""
    shapes, recipe = learning.bank.base.shapes, learning.recipe
    own = [fresh_block(shapes, recipe.rank, recipe.alpha, seed) for seed in range(len(STARTERS))]
    started = time.perf_counter()
    for _ in range(WRITTEN):
        completed(learning, own)
    return (time.perf_counter() - started) / WRITTEN / len(STARTERS)


def _decoding(bank: Bank, form: PromptForm, written: Block) -> Figure:
    """Eight rows under a written block and under one that was never near a network; both have the same shapes."""
    plain = fresh_block(bank.base.shapes, written.rank, written.alpha, seed=1)
    plain = Block({path: Pair(pair.a, torch.ones_like(pair.b) * 1e-4) for path, pair in plain.pairs.items()},
                  plain.rank, plain.alpha)  # fmt: skip
    places = {"ours": RankRange(0, written.rank), "theirs": RankRange(written.rank, 2 * written.rank)}
    for name, block in (("ours", written), ("theirs", plain)):
        bank.mount(block, places[name])
    prompts = [form.prompt([{"role": "user", "content": "Who are you?"}])] * 8

    def decode(at: RankRange) -> Callable[[], Any]:
        return lambda: replies(bank, prompts, mix={at: 1.0}, stop=[], max_new_tokens=32)

    seconds = interleaved(RUNS, **{name: decode(at) for name, at in places.items()})
    peer = f"a block of the same rank ({seconds['theirs']:.2f} s, ours {seconds['ours']:.2f} s)"
    return Figure("decoding under it, 8 rows, 32 tokens", seconds["ours"] / seconds["theirs"], DECODE, "x", peer)
