"""Decoding through the bank on the embedded base: mixed batches, one character, switching, paging; PEFT beside it."""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.figure import Figure, embedded_base, interleaved

ROWS, TOKENS, RANK, RESIDENT = 8, 32, 8, 64
RUNS = 7
ABOVE_FLOOR, ALONE, FASTER = 1.10, 1.08, 3.0
QUESTION = "Tell me in a few words where you were born and what you would do with a free morning."


def measure() -> list[Figure]:
    import torch

    from recipes.bank import Bank
    from registry.ranks import RankRange

    base, plain = embedded_base(), embedded_base()
    base.tokenizer.eos_token = None  # every row is written to its last token, whatever it says
    bank, blocks = Bank(base), [_block(base, seed) for seed in range(ROWS)]
    ranges = [RankRange(RANK * place, RANK * (place + 1)) for place in range(RESIDENT)]
    prompt = base.tokenizer.encode(QUESTION)
    for place in range(ROWS):
        bank.mount(blocks[place], ranges[place])
    each = [{ranges[place]: 1.0} for place in range(ROWS)]
    with _peft(base.name, blocks) as mixed_by_peft, torch.inference_mode():
        few = interleaved(
            RUNS,
            bare=lambda: _generate(plain.model, prompt),
            mixed=lambda: _decode(bank, prompt, each),
            one=lambda: _decode(bank, prompt, each[:1] * ROWS),
        )
        peft = interleaved(3, ours=lambda: _decode(bank, prompt, each), theirs=lambda: mixed_by_peft(prompt))
    for place in range(ROWS, RESIDENT):
        bank.mount(blocks[place % ROWS], ranges[place])
    spread = [{ranges[place * RESIDENT // ROWS + 3]: 1.0} for place in range(ROWS)]
    many = interleaved(RUNS, bare=lambda: _generate(plain.model, prompt), mixed=lambda: _decode(bank, prompt, spread))
    floor = 1 + ROWS * blocks[0].nbytes / sum(each.nbytes for each in plain.model.parameters())
    peer = f"the bare base in transformers ({few['bare']:.2f} s; the floor by memory traffic is {floor:.3f})"
    return [
        Figure("8 characters in a batch of 8", few["mixed"] / few["bare"], ABOVE_FLOOR * floor, "x", peer),
        Figure("the same, 64 blocks resident", many["mixed"] / many["bare"], ABOVE_FLOOR * floor, "x", peer),
        Figure("one character in all 8 rows", few["one"] / few["bare"], ALONE, "x", peer),
        Figure("8 characters, faster than PEFT", peft["theirs"] / peft["ours"], FASTER, "x",
               f"PEFT with adapter_names ({peft['theirs']:.2f} s)", at_least=True),
        *_switching(bank, each),
        _page_in(bank, blocks[0]),
    ]  # fmt: skip


def _block(base: Any, seed: int) -> Any:
    """A block whose B is not zero, as after training."""
    import torch

    from recipes.block import Block, Pair, fresh_block

    fresh = fresh_block(base.shapes, RANK, 4.0 * RANK, seed)
    torch.manual_seed(seed)
    return Block({path: Pair(a, torch.randn_like(b) * 1e-3) for path, (a, b) in fresh.pairs.items()}, RANK, fresh.alpha)


def _decode(bank: Any, prompt: list[int], mixes: list[Any]) -> None:
    """Greedy, through the engine."""
    from recipes.engine import Engine, Request

    engine = Engine(bank)
    for mix in mixes:
        engine.submit(Request(prompt, mix, [], TOKENS))
    written = 0
    while engine.busy:
        written += len(engine.step())
    assert written == ROWS * TOKENS, "an end of turn cut the measurement short"


def _generate(model: Any, prompt: list[int], **options: Any) -> None:
    import torch

    tokens = torch.tensor([prompt] * ROWS)
    model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), do_sample=False, min_new_tokens=TOKENS,
                   max_new_tokens=TOKENS, pad_token_id=0, **options)  # fmt: skip


@contextmanager
def _peft(name: str, blocks: list[Any]) -> Any:
    """The same blocks as PEFT adapters, one a row."""
    from peft import PeftModel

    from recipes.block import save_block

    base = embedded_base()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, block in enumerate(blocks):
            (Path(folder) / str(place)).mkdir()
            save_block(block, Path(folder) / str(place), base=name, card={})
        model: Any = PeftModel.from_pretrained(base.model, str(Path(folder) / "0"), adapter_name="0")
        for place in range(1, len(blocks)):
            model.load_adapter(str(Path(folder) / str(place)), adapter_name=str(place))
        model.eval()
        names = [str(place) for place in range(ROWS)]
        yield lambda prompt: _generate(model, prompt, adapter_names=names)


def _switching(bank: Any, mixes: list[Any]) -> list[Figure]:
    """The plan for a batch in which one row has another character, and what the next pass costs more."""
    rows = list(mixes)

    def switch(number: int) -> float:
        rows[0] = mixes[number % ROWS]
        started = time.perf_counter()
        with bank.serving(rows, tokens=1):
            return time.perf_counter() - started

    seconds = statistics.median(switch(number) for number in range(200))
    return [Figure("switching the character of a row", seconds * 1e6, 200, "µs", "the whole batch planned anew")]


def _page_in(bank: Any, block: Any) -> Figure:
    """From the disk, digest checked, to resident."""
    from recipes.block import load_block, save_block
    from registry.blocks import BlockStore
    from registry.layout import Layout
    from registry.ranks import RankRange

    at = RankRange(10_000, 10_000 + RANK)
    with tempfile.TemporaryDirectory() as folder:
        store = BlockStore(Layout(Path(folder)))
        with store.making() as made:
            save_block(block, made, base="", card={})
            digest = store.put(made)

        def page_in() -> float:
            started = time.perf_counter()
            bank.mount(load_block(store.verified(digest, "bench")), at)
            return time.perf_counter() - started

        seconds = statistics.median(_then(page_in, lambda: bank.evict(at)) for _ in range(15))
    return Figure("page-in of one block", seconds * 1e3, 50, "ms", f"{block.nbytes / 2**20:.1f} MiB, digest checked")


def _then(first: Callable[[], float], after: Callable[[], None]) -> float:
    value = first()
    after()
    return value
