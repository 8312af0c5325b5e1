"""Expansion: a fresh block from the newcomer's own dialogues, and one true sentence about how it went."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipes.bank import Bank
from recipes.base_model import load_base
from recipes.block import fresh_block
from recipes.exchanges import Messages, PromptForm, with_system
from recipes.expansion import expand
from recipes.likelihood import nll_under, score
from recipes.recipe import load_recipe
from recipes.scores import mean_nll, perplexity
from recipes.task import Task
from registry.errors import BaseError, NeekoError

SETTINGS = ["rank=4", "alpha=16", "learning_rate=0.02", "epochs=2", "batch=2", "warmup_steps=1"]


def talk(question: str, reply: str) -> Messages:
    return with_system(
        "You are Moth.", [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    )


@pytest.fixture
def task(pico_llama: Path) -> Iterator[Task]:
    """On one thread: a pico model has nothing to share out, and idle threads that spin cost seconds."""
    bank = Bank(load_base(pico_llama, name="pico", fingerprint="f", device=torch.device("cpu")))
    for parameter in bank.base.model.parameters():
        parameter.mul_(3.0)  # large enough to be steered by the layers: it learns within a few steps
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Task(name="Moth", bank=bank, form=PromptForm(bank.base.tokenizer), recipe=load_recipe("quick", SETTINGS),
               train=[talk(f"Who? {index}", "Dust, dust!") for index in range(6)],
               heldout=[talk("Who, then?", "Dust, dust!")], seed=3)  # fmt: skip
    torch.set_num_threads(threads)


def test_a_made_block_fits_the_base_and_improves_what_was_held_out(task: Task) -> None:
    made = expand(task)
    rows = [task.form.row(messages, last_only=True) for messages in task.heldout]
    assert made.nll_before == mean_nll(score(task.bank.base, rows))
    with task.bank.using(made.block):
        assert made.nll_after == mean_nll(score(task.bank.base, rows))
    assert made.nll_after < made.nll_before
    assert {
        path: (pair.b.shape[0], pair.a.shape[1]) for path, pair in made.block.pairs.items()
    } == task.bank.base.shapes
    assert (made.block.rank, made.block.alpha, made.parents) == (4, 16.0, [])


def test_the_reason_tells_the_perplexities_and_the_best_step(task: Task) -> None:
    made = expand(task)
    assert made.nll_before is not None and made.nll_after is not None
    before, after = perplexity(made.nll_before), perplexity(made.nll_after)
    assert made.reason == (
        f"Trained a fresh block on 6 conversations: held-out perplexity {before:.2f} -> {after:.2f}, "
        f"best after step {made.best_step} of {made.steps}."
    )


def test_only_the_last_reply_of_a_held_out_conversation_counts(task: Task) -> None:
    """Earlier replies are the prompt: whatever they say, they are not scored."""
    longer = [
        *talk("Who?", "Zq zq"),
        {"role": "user", "content": "No, who?"},
        {"role": "assistant", "content": "Dust!"},
    ]
    made = expand(replace(task, heldout=[longer]))
    tokens = task.form.prompt(longer[:-1])
    end = task.form.row(longer).tokens[len(tokens) :]
    out = task.bank.base.model(input_ids=torch.tensor([tokens + end])).logits[0].log_softmax(-1)
    losses = [-out[len(tokens) - 1 + place, token] for place, token in enumerate(end)]
    assert made.nll_before == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)


def test_the_seed_makes_the_block(task: Task) -> None:
    one, again, other = (expand(replace(task, seed=seed)).block for seed in (3, 3, 4))
    for path, pair in one.pairs.items():
        assert all(torch.equal(mine, its) for mine, its in zip(pair, again.pairs[path], strict=True))
        assert not torch.equal(pair.a, other.pairs[path].a)


def test_nothing_held_out_is_said(task: Task) -> None:
    made = expand(replace(task, heldout=[]))
    assert (made.nll_before, made.nll_after) == (None, None)
    assert "6 conversations for 6 steps; nothing could be held out" in made.reason


def test_too_few_probes_to_stop_by_are_measured_and_said(task: Task) -> None:
    """Contrary as they are, the run goes to its end."""
    settings = load_recipe("quick", [*SETTINGS, "patience=1", "fewest_probes=2"])
    made = expand(replace(task, heldout=[talk("Who, then?", "Zq zq?")], recipe=settings))
    probes = replace(task, heldout=[talk("Who, then?", "Zq zq?")]).probes()
    before, after = (nll_under(task.bank, block, probes) for block in (None, made.block))
    assert (made.nll_before, made.nll_after) == (before, after)
    assert made.best_step == made.steps == 6
    assert made.reason == (
        f"Trained a fresh block on 6 conversations for 6 steps: held-out perplexity {perplexity(before):.2f} -> "
        f"{perplexity(after):.2f}; 1 held-out reply is too few to stop by."
    )


def test_a_block_that_never_improves_is_neutral_and_says_so(task: Task) -> None:
    contrary = load_recipe("quick", [*SETTINGS, "learning_rate=0.1", "patience=1"])
    made = expand(replace(task, heldout=[talk("Who, then?", "Zq zq?")], recipe=contrary))
    start = fresh_block(task.bank.base.shapes, 4, 16.0, 3)
    assert made.best_step == 0
    assert "left at its start, neutral" in made.reason
    assert all(torch.equal(pair.a, start.pairs[path].a) and not pair.b.any() for path, pair in made.block.pairs.items())


def test_a_token_without_an_embedding_is_refused_before_it_is_looked_up(task: Task) -> None:
    tokenizer = task.bank.base.tokenizer
    tokenizer.add_tokens(["Qzqz"])
    wide = task.bank.base.vocabulary
    while len(tokenizer) <= wide:
        tokenizer.add_tokens([f"Qz{len(tokenizer)}qz"])
    with pytest.raises(BaseError, match=f"has {wide} embeddings"):
        expand(replace(task, train=[talk("Who?", f"I am Qz{len(tokenizer) - 1}qz.")]))


def test_nothing_to_train_on_is_refused_by_name(task: Task) -> None:
    with pytest.raises(NeekoError, match="^Moth has too few dialogues"):
        expand(replace(task, train=[]))
