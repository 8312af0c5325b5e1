"""Generation, against transformers' own: greedy token for token, alone and in a batch; stops; and honest draws."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.bank import Bank
from recipes.base_model import BaseModel, find_projections, load_base
from recipes.block import Block, Pair
from recipes.engine import Engine, Request, Sampling, decode, replies, without_stop
from registry.errors import RankError
from registry.ranks import RankRange

PROMPTS = [[5, 17, 42, 99, 200], [88, 3, 150], [9, 31, 250, 11, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73]]
NEW = 24  # beyond the pico Gemma's sliding window of 16, whatever the prompt


def gpt2(folder: Path) -> BaseModel:
    """A two-layer GPT-2, whose positions are learned, so that a pad that counts shows; the tokenizer is the Llama's."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=264, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
    model = GPT2LMHeadModel(config).requires_grad_(False).eval()
    return BaseModel("gpt2", "f", model, AutoTokenizer.from_pretrained(folder), find_projections(model))


@pytest.fixture(params=["llama", "gemma", "gpt2"])
def bank(request: pytest.FixtureRequest) -> Iterator[Bank]:
    """Weights large enough for greedy text that wanders, on one thread: a pico model has nothing to share out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = request.getfixturevalue("pico_gemma" if request.param == "gemma" else "pico_llama")
    if request.param == "gpt2":
        base = gpt2(folder)
    else:
        base = load_base(folder, name=request.param, fingerprint="f", device=torch.device("cpu"))
    for parameter in base.model.parameters():
        parameter.mul_(4.0)
    yield Bank(base)
    torch.set_num_threads(threads)


def generated(bank: Bank, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    """What transformers writes after left-padded prompts, up to and with the end of turn."""
    width = max(len(prompt) for prompt in prompts)
    tokens = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    written = bank.base.model.generate(input_ids=tokens, attention_mask=mask, do_sample=False, pad_token_id=2,
                                  max_new_tokens=NEW, **options)[:, width:].tolist()  # fmt: skip
    eos = bank.base.tokenizer.eos_token_id
    return [row[: row.index(eos) + 1] if eos in row else row for row in written]


def streamed(bank: Bank, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    """The tokens of `decode`, row by row; None only ever after the last."""
    settings: dict[str, Any] = {"mix": {}, "stop": [], "max_new_tokens": NEW} | options
    steps = list(decode(bank, prompts, **settings))
    rows = [[step[row] for step in steps] for row in range(len(prompts))]
    written = [[token for token in row if token is not None] for row in rows]
    assert all(row[: len(kept)] == kept for row, kept in zip(rows, written, strict=True))
    return written


@pytest.mark.parametrize("prompt", PROMPTS, ids=["short", "shorter", "beyond-the-window"])
def test_greedy_text_is_transformers(prompt: list[int], bank: Bank) -> None:
    assert streamed(bank, [prompt]) == generated(bank, [prompt])


def test_greedy_text_of_a_batch_of_different_lengths_is_transformers(bank: Bank) -> None:
    ours = streamed(bank, PROMPTS)
    assert ours == generated(bank, PROMPTS)
    assert len(set(ours[2])) > 3  # text that wanders: a cache that stood still would repeat itself


def test_a_row_reads_the_same_alone_and_in_a_batch(bank: Bank) -> None:
    assert streamed(bank, PROMPTS) == [streamed(bank, [prompt])[0] for prompt in PROMPTS]


def test_a_block_in_use_speaks(bank: Bank) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = {path: Pair(torch.randn(2, d_in, generator=generator), torch.randn(d_out, 2, generator=generator))
             for path, (d_out, d_in) in bank.base.shapes.items()}  # fmt: skip
    bare, block, at = streamed(bank, PROMPTS), Block(pairs, 2, 2.0), RankRange(6, 8)
    bank.mount(block, at)
    with bank.using(block):
        expected = generated(bank, PROMPTS)
    assert streamed(bank, PROMPTS, mix={at: 1.0}) == expected != bare
    assert streamed(bank, PROMPTS) == bare


def test_a_row_that_meets_the_end_of_turn_waits_for_the_others(bank: Bank) -> None:
    """The third token of one row is made the tokenizer's eos."""
    whole = streamed(bank, PROMPTS)
    ender = whole[0][2]
    bank.base.tokenizer.eos_token_id = ender
    expected = [row[: row.index(ender) + 1] if ender in row else row for row in whole]
    assert expected != whole
    assert len({len(row) for row in expected}) > 1
    assert streamed(bank, PROMPTS) == expected


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_row_ends_with_the_whole_of_a_stop_sequence(length: int, bank: Bank) -> None:
    whole = streamed(bank, PROMPTS[:1])[0]
    stop = whole[4 : 4 + length]
    end = next(at for at in range(length, NEW + 1) if whole[at - length : at] == stop)
    assert streamed(bank, PROMPTS[:1], stop=stop)[0] == whole[:end]
    assert replies(bank, PROMPTS[:1], mix={}, stop=stop, max_new_tokens=NEW) == [whole[: end - length]]


def test_a_part_of_a_stop_sequence_ends_nothing(bank: Bank) -> None:
    whole = streamed(bank, PROMPTS[:1])[0]
    stop = [whole[4], (whole[5] + 1) % 264]
    assert all(whole[at : at + 2] != stop for at in range(NEW))
    assert streamed(bank, PROMPTS[:1], stop=stop)[0] == whole


def test_a_stop_sequence_in_the_prompt_ends_nothing(bank: Bank) -> None:
    """Only what is written counts, also where prompt and reply join."""
    whole = streamed(bank, PROMPTS[:1])[0]
    assert streamed(bank, PROMPTS[:1], stop=[PROMPTS[0][-1], whole[0]])[0] == whole


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_no_more_tokens_are_written_than_asked(limit: int, bank: Bank) -> None:
    whole = streamed(bank, PROMPTS)
    assert streamed(bank, PROMPTS, max_new_tokens=limit) == [row[:limit] for row in whole]
    assert replies(bank, PROMPTS, mix={}, stop=[], max_new_tokens=limit) == [row[:limit] for row in whole]


def test_tokens_come_as_they_are_made(bank: Bank) -> None:
    """One forward pass for one token: a caller may stop reading."""
    passes: list[torch.Size] = []
    bank.base.model.register_forward_pre_hook(lambda _module, _args, kwargs: passes.append(kwargs["input_ids"].shape),
                                         with_kwargs=True)  # fmt: skip
    stream = decode(bank, PROMPTS, mix={}, stop=[], max_new_tokens=NEW)
    next(stream)
    assert passes == [(3, len(PROMPTS[2]))]
    next(stream)
    assert passes[1:] == [(3, 1)]


@pytest.mark.parametrize(
    ("tokens", "stop", "eos", "reply"),
    [([7, 8, 5, 6], [5, 6], 2, [7, 8]), ([7, 8, 5], [5, 6], 2, [7, 8, 5]), ([7, 8, 2], [5, 6], 2, [7, 8]),
     ([7, 2], [2], 2, [7]), ([2], [2], 2, []), ([], [5], 2, []), ([7, 2], [], 2, [7]), ([7, 8], [], None, [7, 8]),
     ([2, 7], [5], 2, [2, 7])],
)  # fmt: skip
def test_a_reply_is_left_without_what_ends_it(
    tokens: list[int], stop: list[int], eos: int | None, reply: list[int]
) -> None:
    assert without_stop(tokens, stop, eos) == reply


# requests that join and leave


def block_for(bank: Bank, seed: int) -> Block:
    generator = torch.Generator().manual_seed(seed)
    pairs = {path: Pair(torch.randn(2, d_in, generator=generator), torch.randn(d_out, 2, generator=generator))
             for path, (d_out, d_in) in bank.base.shapes.items()}  # fmt: skip
    return Block(pairs, 2, 1.0 + seed)


def test_requests_join_and_leave_between_steps_and_each_reads_as_if_alone(bank: Bank) -> None:
    """Seven requests of three characters and the bare base, submitted while others are being written."""
    for seed in range(3):
        bank.mount(block_for(bank, seed), RankRange(2 * seed, 2 * seed + 2))
    mixes = [{}, *({RankRange(2 * seed, 2 * seed + 2): 1.0} for seed in range(3))]
    requests = [Request(PROMPTS[number % 3], mixes[number % 4], [], 3 + 5 * (number % 4)) for number in range(7)]
    expected = [streamed(bank, [each.prompt], mix=each.mix, max_new_tokens=each.max_new_tokens)[0] for each in requests]
    engine, written, order = Engine(bank, most_rows=4), dict[int, list[int]](), []
    for number, request in enumerate(requests):
        order.append(engine.submit(request))
        for _ in range(number % 3):
            for ticket, token in engine.step():
                written.setdefault(ticket, []).append(token)
    while engine.busy:
        for ticket, token in engine.step():
            written.setdefault(ticket, []).append(token)
    assert [written[ticket] for ticket in order] == expected
    assert len({tuple(tokens[:3]) for tokens in expected}) > 3


def test_a_cancelled_request_leaves_and_lets_its_block_go(bank: Bank) -> None:
    at = RankRange(0, 2)
    bank.capacity = 2
    bank.mount(block_for(bank, 0), at)
    engine = Engine(bank)
    one, two = (engine.submit(Request(prompt, {at: 1.0}, [], NEW)) for prompt in PROMPTS[:2])
    engine.step()
    engine.cancel(one)
    assert engine.ended(one)
    assert [ticket for ticket, _ in engine.step()] == [two]
    with pytest.raises(RankError):
        bank.mount(block_for(bank, 1), RankRange(2, 4))
    engine.cancel(two)
    assert not engine.busy
    bank.mount(block_for(bank, 1), RankRange(2, 4))
    assert bank.mounted == [RankRange(2, 4)]


def test_a_request_for_a_block_that_is_not_resident_is_refused(bank: Bank) -> None:
    with pytest.raises(KeyError):
        Engine(bank).submit(Request(PROMPTS[0], {RankRange(0, 2): 1.0}, [], 4))


def test_whatever_goes_wrong_in_a_step_ends_every_request_and_pins_nothing(bank: Bank) -> None:
    at = RankRange(0, 2)
    bank.mount(block_for(bank, 0), at)
    engine = Engine(bank)
    tickets = [engine.submit(Request(PROMPTS[0], {at: 1.0}, [], NEW))]
    engine.step()
    tickets.append(engine.submit(Request([10**6], {at: 1.0}, [], NEW)))
    with pytest.raises(IndexError):
        engine.step()
    assert all(engine.ended(ticket) for ticket in tickets)
    assert not engine.busy
    bank.capacity = 2
    bank.mount(block_for(bank, 1), RankRange(2, 4))
    assert bank.mounted == [RankRange(2, 4)]


# sampling


def warm(**options: Any) -> Sampling:
    return Sampling(**({"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 0} | options))


def first_tokens(bank: Bank, sampling: Sampling, rows: int = 400) -> torch.Tensor:
    """How often each token was drawn first, after one and the same prompt."""
    (step,) = decode(bank, PROMPTS[:1] * rows, mix={}, stop=[], max_new_tokens=1, sampling=sampling)
    return torch.bincount(torch.tensor(step), minlength=264) / rows


def chances(bank: Bank, temperature: float = 1.0) -> torch.Tensor:
    with torch.inference_mode():
        logits = bank.base.model(input_ids=torch.tensor(PROMPTS[:1])).logits[0, -1]
    return torch.softmax(logits / temperature, -1)


def test_a_seed_repeats_and_another_does_not(bank: Bank) -> None:
    one, again, other = (streamed(bank, PROMPTS, sampling=warm(seed=seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_without_a_seed_every_draw_is_new_and_leaves_torch_alone(bank: Bank) -> None:
    before = torch.random.get_rng_state()
    assert streamed(bank, PROMPTS, sampling=warm(seed=None)) != streamed(bank, PROMPTS, sampling=warm(seed=None))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_draws_follow_the_models_chances_at_the_temperature(temperature: float, bank: Bank) -> None:
    """Within five standard deviations for every token."""
    rows = 4000
    expected = chances(bank, temperature)
    drawn = first_tokens(bank, warm(temperature=temperature), rows)
    spread = (expected * (1 - expected) / rows).sqrt() + 1 / rows
    assert ((drawn - expected).abs() < 5 * spread).all()


@pytest.mark.parametrize("top_p", [0.0, 0.2, 0.6, 0.9])
def test_only_the_nucleus_is_drawn_from(top_p: float, bank: Bank) -> None:
    """The fewest likeliest tokens whose chances reach top_p, at least one; each as likely as within them."""
    rows = 2000
    likeliest, order = chances(bank).sort(descending=True)
    size = max(1, next(count for count in range(265) if likeliest[:count].sum() >= top_p))
    expected = torch.zeros(264).index_put((order[:size],), likeliest[:size] / likeliest[:size].sum())
    drawn = first_tokens(bank, warm(top_p=top_p), rows)
    assert set(drawn.nonzero()[:, 0].tolist()) <= set(order[:size].tolist())
    assert ((drawn - expected).abs() < 5 * (expected * (1 - expected) / rows).sqrt() + 5 / rows).all()


def test_a_repetition_penalty_is_transformers_over_what_was_written(bank: Bank) -> None:
    """With a nucleus of one token the draw is greedy, and transformers' processor is the reference."""
    from transformers import RepetitionPenaltyLogitsProcessor

    penalty = 4.0
    process = RepetitionPenaltyLogitsProcessor(penalty)
    tokens, written = list(PROMPTS[0]), list[int]()
    for _ in range(12):
        with torch.inference_mode():
            logits = bank.base.model(input_ids=torch.tensor([tokens])).logits[:, -1]
        token = int(process(torch.tensor([written], dtype=torch.long), logits).argmax())
        tokens.append(token)
        written.append(token)
        if token == bank.base.tokenizer.eos_token_id:
            break
    sampling = warm(top_p=1e-6, repetition_penalty=penalty)
    assert streamed(bank, PROMPTS[:1], sampling=sampling, max_new_tokens=12) == [written]
    assert written != streamed(bank, PROMPTS[:1], max_new_tokens=12)[0]


def test_greedy_heeds_neither_seed_nor_penalty(bank: Bank) -> None:
    plain = streamed(bank, PROMPTS)
    assert streamed(bank, PROMPTS, sampling=Sampling(0.0, top_p=0.1, repetition_penalty=9.0, seed=5)) == plain
