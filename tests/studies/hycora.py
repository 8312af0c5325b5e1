"""`make study-hycora DATA=FOLDER`: characters that share what is common and keep what is theirs.

Character-LLM's six characters are trained together in every way of hycora_ways: each with a block of its own, all with
one block, and with a network that writes a half for each. Everybody's replies to 25 questions that nothing was trained
or stopped on are read under the own block and under the nearest other's.

Resumable: every reading is a line of .bench/studies/hycora/cells.jsonl, every way's blocks a folder beside it. Seed 0
of every way comes first, then the other seeds of the table's.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recipes.bank import Bank
from recipes.base_model import BaseModel
from recipes.block import Block, load_block, save_block
from recipes.cohort import Member
from recipes.engine import replies
from recipes.exchanges import PromptForm, Row
from recipes.likelihood import scored_under
from recipes.running import Progress
from registry.ranks import RankRange
from tests.bench.figure import BENCH_HOME, embedded_base
from tests.studies import common
from tests.studies.character_llm import Interviewed, read
from tests.studies.hycora_ways import TABLE, TRIED, Trained, Way, together

WORK = BENCH_HOME / "studies" / "hycora"
SEEDS = (0, 1, 2)
EXCHANGES, PROBES = 64, 8  # a character's, and those of them that are kept aside to stop a training by
REPLY_TOKENS = 64
BASE = "bare base"


@dataclass(frozen=True)
class Cell:
    """One character under one way: nats of each test question under the own block and under the nearest other's (none
    where all have one), and their tokens."""

    way: str
    seed: int
    character: str
    own: list[float]
    tokens: list[int]
    other: list[float] = field(default_factory=list)
    likeness: float = 0.0
    steps: int = 0
    best_step: int = 0
    seconds: float = 0.0
    rouge: list[float] = field(default_factory=list)  # ROUGE-L and BLEU of what is written to each
    bleu: list[float] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, int, str]:
        return self.way, self.seed, self.character


class Study:
    """The base, the cast, and what was measured so far."""

    def __init__(self, people: Sequence[Interviewed], base: BaseModel, roles: Mapping[str, Any], work: Path = WORK,
                 exchanges: int = EXCHANGES, probes: int = PROBES) -> None:  # fmt: skip
        self.people, self.roles, self.work = list(people), roles, work
        self.exchanges, self.probes = exchanges, probes
        self.bank, self.form = Bank(base), PromptForm(base.tokenizer)
        work.mkdir(parents=True, exist_ok=True)
        self.cells = {cell.key: cell for cell in common.stored(self.path, Cell)}

    @property
    def path(self) -> Path:
        return self.work / "cells.jsonl"

    def run(self, way: Way, seed: int) -> None:
        """All of a way and seed that is missing."""
        if all((way.name, seed, person.name) in self.cells for person in self.people):
            return
        started = time.monotonic()
        done = together(self.bank, self.members(seed), way, seed, self.report)
        seconds = time.monotonic() - started
        self.save(done, self.work / way.name.replace(" ", "-").replace(",", "") / str(seed))
        for person in self.people:
            self.keep(self.read(way, seed, person, done, seconds))

    def read_base(self) -> None:
        for person in self.people:
            if (BASE, 0, person.name) not in self.cells:
                totals, tokens = self.score(person, None)
                self.keep(Cell(BASE, 0, person.name, totals, tokens))

    def members(self, seed: int) -> list[Member]:
        found = []
        for person in self.people:
            task = common.task(self.bank, self.form, person, self.exchanges, seed, probes=self.probes)
            persona = torch.as_tensor(self.roles[person.name]).float()
            found.append(Member(person.name, task.rows(), task.probes(), persona))
        return found

    def read(self, way: Way, seed: int, person: Interviewed, done: Trained, seconds: float) -> Cell:
        block = done.blocks[person.name]
        own, tokens = self.score(person, block)
        other = self.score(person, done.blocks[self.nearest(person.name)])[0] if way.kind != "shared" else []
        return Cell(way.name, seed, person.name, own, tokens, other, done.likeness, done.steps, done.best_step, seconds,
                    *self.write(person, block))  # fmt: skip

    def write(self, person: Interviewed, block: Block) -> tuple[list[float], list[float]]:
        """ROUGE-L and BLEU of the greedy replies."""
        prompts = [self.form.prompt(common.said(person.name, *pair)[:-1]) for pair in person.tested]
        at = RankRange(0, block.rank)
        self.bank.mount(block, at)
        written = replies(self.bank, prompts, mix={at: 1.0}, stop=self.form.stop, max_new_tokens=REPLY_TOKENS)
        texts = [self.bank.base.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]
        return common.overlap([reply for _, reply in person.tested], texts)

    def nearest(self, name: str) -> str:
        """By role embedding, as the product chooses a rival."""
        others = [person.name for person in self.people if person.name != name]
        return max(others, key=lambda other: float(self.roles[name] @ self.roles[other]))

    def score(self, person: Interviewed, block: Block | None) -> tuple[list[float], list[int]]:
        """Nats and tokens of the test questions, the short ones first."""
        rows: list[Row] = [self.form.row(common.said(person.name, *pair), last_only=True) for pair in person.tested]
        rows.sort(key=lambda row: len(row.tokens))
        scores = scored_under(self.bank, block, rows)
        return [each.total for each in scores], [each.tokens for each in scores]

    def save(self, done: Trained, folder: Path) -> None:
        """The blocks, for what is looked at later: figures of their halves."""
        for name, block in done.blocks.items():
            path = folder / name.replace(" ", "-")
            path.mkdir(parents=True, exist_ok=True)
            save_block(block, path, base=self.bank.base.name, card={"serves": name})

    def load(self, way: Way, seed: int) -> dict[str, Block]:
        folder = self.work / way.name.replace(" ", "-").replace(",", "") / str(seed)
        return {person.name: load_block(folder / person.name.replace(" ", "-")) for person in self.people}

    def keep(self, cell: Cell) -> None:
        common.store(self.path, cell)
        self.cells[cell.key] = cell
        tokens = sum(cell.tokens)
        nll, apart = sum(cell.own) / tokens, (sum(cell.other) - sum(cell.own)) / tokens if cell.other else 0.0
        say(f"{cell.way}, seed {cell.seed}: {cell.character} {nll:.3f} nats a token, {apart:+.3f} apart")

    def report(self, progress: Progress) -> None:
        if progress.step % 10 == 0:
            heldout = "" if progress.heldout_nll is None else f", held out {progress.heldout_nll:.3f}"
            say(f"  step {progress.step}/{progress.steps}, loss {progress.loss:.3f}{heldout}")


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def main(folder: Path) -> None:
    """Measure what is missing."""
    from tests.studies.hycora_newcomers import Newcomers

    people = read(folder)
    study = Study(people, embedded_base(), common.roles(people))
    study.read_base()
    for seed in SEEDS:
        for way in (*TABLE, *(TRIED if seed == 0 else ())):
            study.run(way, seed)
        Newcomers(study).run(seed)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of Character-LLM's data: make study-hycora DATA=FOLDER")
    main(Path(sys.argv[1]))
