"""`make study-boundary DATA=FOLDER`: from how many exchanges on is a character better trained than fused?

Each of Character-LLM's six characters is the newcomer once, the other five are residents. Strategies and recipes are
the product's own; a newcomer's exchanges are split into training and probes as the product splits them. What is
reported was never seen: 25 questions a character, those whose prompt hashes lowest.

Resumable: every cell is a line of .bench/studies/boundary/cells.jsonl, every resident's block a folder beside it.
Writes docs/studies/boundary.md and boundary.svg once all cells are there (or from what is there, with --page).
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from recipes.bank import Bank, Mix
from recipes.block import Block, load_block, save_block
from recipes.engine import replies
from recipes.exchanges import PromptForm
from recipes.expansion import expand
from recipes.fusion import TUNED_ON, fuse
from recipes.likelihood import scored_under
from recipes.task import Made
from registry.ranks import RankRange
from tests.bench.figure import BENCH_HOME, embedded_base
from tests.studies import common
from tests.studies.character_llm import Interviewed, read

WORK = BENCH_HOME / "studies" / "boundary"
CELLS = WORK / "cells.jsonl"
SEEDS = (0, 1, 2)
AMOUNTS = (0, 1, 4, 16, 64)
METHODS = ("fuse", "fuse --tune", "expand", "expand --warm-start fuse")
REPLY_TOKENS = 48  # of each reply that ROUGE-L is taken of
AT = RankRange(0, 8)


@dataclass(frozen=True)
class Cell:
    """One newcomer, made one way from so many exchanges; per test question its NLL, tokens and ROUGE-L."""

    newcomer: str
    method: str  # of METHODS; "base", or "resident NAME": that resident's block, read on the newcomer's questions
    exchanges: int
    seed: int
    totals: list[float]
    tokens: list[int]
    rouge: list[float]
    seconds: float = 0.0
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.newcomer, self.method, self.exchanges, self.seed


class Study:
    """The base, the six characters, and what was measured so far."""

    def __init__(self, folder: Path) -> None:
        self.people = {person.name: person for person in read(folder)}
        self.base = embedded_base()
        self.bank, self.form = Bank(self.base), PromptForm(self.base.tokenizer)
        self.cells = {cell.key: cell for cell in common.stored(CELLS, Cell)}

    @cached_property
    def roles(self) -> dict[str, Any]:
        return common.roles(self.people.values())

    @cached_property
    def residents(self) -> dict[str, Block]:
        """Everybody's block as a resident: the standard preset on all that is known of them."""
        return {name: self._resident(person) for name, person in self.people.items()}

    def _resident(self, person: Interviewed) -> Block:
        folder = WORK / person.name.replace(" ", "-")
        if not (folder / "neeko.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            say(f"resident {person.name}")
            task = common.task(self.bank, self.form, person, len(person.known), 0)
            save_block(expand(task).block, folder, base=self.base.name, card={})
        return load_block(folder)

    def make(self, name: str, method: str, exchanges: int, seed: int) -> Made:
        task = common.task(self.bank, self.form, self.people[name], exchanges, seed)
        kin = () if method == "expand" else common.nearest(name, self.roles, self.residents)
        task = replace(task, neighbours=kin, tune=method == "fuse --tune")
        return (fuse if method.startswith("fuse") else expand)(task)

    def measure(self, key: tuple[str, str, int, int], block: Block | None, **more: Any) -> Cell:
        """Likelihood and ROUGE-L of a block on the newcomer's test questions."""
        tested = self.people[key[0]].tested
        rows = [self.form.row(common.said(key[0], *pair), last_only=True) for pair in tested]
        scores = scored_under(self.bank, block, rows)
        prompts = [self.form.prompt(common.said(key[0], *pair)[:-1]) for pair in tested]
        if block is not None:
            self.bank.mount(block, AT)
        mix: Mix = {} if block is None else {AT: 1.0}
        written = replies(self.bank, prompts, mix=mix, stop=self.form.stop, max_new_tokens=REPLY_TOKENS)
        texts = [self.base.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]
        rouge, _ = common.overlap([reply for _, reply in tested], texts)
        return Cell(*key, [each.total for each in scores], [each.tokens for each in scores], rouge, **more)

    def run(self, key: tuple[str, str, int, int]) -> Cell:
        """Make and measure one cell."""
        name, method, exchanges, seed = key
        if method == "base":
            return self.measure(key, None)
        if method.startswith("resident "):
            return self.measure(key, self.residents[method.removeprefix("resident ")])
        started = time.monotonic()
        made = self.make(*key)
        return self.measure(key, made.block, seconds=time.monotonic() - started, reason=made.reason)


def keys(people: list[str]) -> Iterator[tuple[str, str, int, int]]:
    """Every cell, a whole seed before the next, and in it the cheap amounts before the dear one, so that an unfinished
    study already has a page."""
    for name in people:
        yield name, "base", 0, 0
        yield from ((name, f"resident {other}", 0, 0) for other in people if other != name)
        yield name, "fuse", 0, 0  # nothing in it is drawn by a seed
    for seed in SEEDS:
        for amounts in (AMOUNTS[1:-1], AMOUNTS[-1:]):
            for name in people:
                yield from ((name, method, exchanges, seed) for exchanges in amounts for method in METHODS[1:]
                            if method != "fuse --tune" or exchanges <= TUNED_ON)  # it reads no more  # fmt: skip


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def main(folder: Path) -> None:
    """Measure what is missing, then write the page."""
    from rich.console import Console
    from rich.progress import track

    study = Study(folder)
    WORK.mkdir(parents=True, exist_ok=True)
    todo = [key for key in keys(list(study.people)) if key not in study.cells]
    for key in track(todo, "cells", console=Console(stderr=True)):
        say(" ".join(map(str, key)))
        common.store(CELLS, study.run(key))
    from tests.studies import boundary_page

    boundary_page.write(common.stored(CELLS, Cell))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of Character-LLM's data: make study-boundary DATA=FOLDER")
    main(Path(sys.argv[1]))
