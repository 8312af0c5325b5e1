"""`make study-forgetting DATA=FOLDER`: what happens to the characters who are there when another one is added?

Character-LLM's six characters are added one after another, in an order of each seed: to one shared LoRA that training
goes on with, to blocks of their own in disjoint ranges (this project), and, an ablation on isolation, to ranges that
overlap. After every step everybody who is there is read anew: 25 questions a character that nothing was trained or
stopped on.

Resumable: every reading is a line of .bench/studies/forgetting/cells.jsonl, every step's blocks a folder beside it.
Writes docs/studies/forgetting.md and forgetting.svg after every whole seed. EXCHANGES=64 gives every character so many
instead; the page is of the largest amount there is, and compares them.
"""

import json
import random
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from recipes.bank import Bank
from recipes.base_model import BaseModel
from recipes.block import Block, load_block, save_block
from recipes.exchanges import PromptForm
from recipes.likelihood import score
from recipes.recipe import Recipe, load_recipe
from recipes.scores import Score
from recipes.task import Task
from registry.ranks import RankRange
from tests.bench.figure import BENCH_HOME, embedded_base
from tests.studies import common
from tests.studies.character_llm import Interviewed, read
from tests.studies.forgetting_ways import OWN, WAYS, Served, Way, moved

WORK = BENCH_HOME / "studies" / "forgetting"
SEEDS = (0, 1, 2)
EXCHANGES = 32  # a character, probes included, unless others are asked for: three seeds take an hour
PROBES = 8  # one exchange in so many is kept aside to stop a training by: the product's share
BASE = "bare base"


@dataclass(frozen=True)
class Cell:
    """One character read after one step, the bare base's step being 0; per test question its NLL and tokens."""

    way: str
    exchanges: int  # that each character was given
    seed: int
    step: int
    character: str
    totals: list[float]
    tokens: list[int]
    rank: int = 0
    moved: float = 0.0  # what serves it since its own training, as a share of the norm of its delta_W
    seconds: float = 0.0  # that the newcomer's training took

    @property
    def key(self) -> tuple[str, int, int, int, str]:
        return self.way, self.exchanges, self.seed, self.step, self.character


class Study:
    """The base, the cast, and what was measured so far; `work` is where it is kept."""

    def __init__(self, people: Sequence[Interviewed], base: BaseModel, roles: Mapping[str, Any], work: Path = WORK,
                 recipe: Recipe | None = None, exchanges: int = EXCHANGES) -> None:  # fmt: skip
        self.people = {person.name: person for person in people}
        self.roles, self.work, self.exchanges = roles, work, exchanges
        self.recipe = recipe or load_recipe("standard", [])
        self.bank = Bank(base)
        self.form = PromptForm(base.tokenizer)
        work.mkdir(parents=True, exist_ok=True)
        self.cells = {cell.key: cell for cell in common.stored(self.path, Cell)}

    @property
    def path(self) -> Path:
        return self.work / "cells.jsonl"

    def order(self, seed: int) -> list[str]:
        """Each seed lets another one come first, and shuffles the others."""
        names = list(self.people)
        first = names.pop(seed % len(names))
        random.Random(f"order:{seed}").shuffle(names)
        return [first, *names]

    def run(self, seed: int) -> None:
        """All of one seed that is missing."""
        for name in self.people:
            if (BASE, 0, 0, 0, name) not in self.cells:
                self.keep(Cell(BASE, 0, 0, 0, name, *self.read(name, None, None)))
        for way in WAYS:
            self.live(way, seed)

    def live(self, way: Way, seed: int) -> None:
        """Add one character after another, and read everybody after each."""
        served: Served = {}
        trained: Served = {}  # what each was served by right after its own training
        for step, newcomer in enumerate(self.order(seed), start=1):
            changed, seconds = self.step(way, seed, step, served)
            served |= changed
            trained[newcomer] = served[newcomer]
            for place, (name, block) in enumerate(served.items()):
                if (way.name, self.exchanges, seed, step, name) in self.cells:
                    continue
                totals, tokens = self.read(name, block, way.at(place, block.rank))
                self.keep(Cell(way.name, self.exchanges, seed, step, name, totals, tokens, block.rank,
                               moved(trained[name], block), seconds if name == newcomer else 0.0))  # fmt: skip

    def step(self, way: Way, seed: int, step: int, served: Served) -> tuple[Served, float]:
        """The blocks that a newcomer's arrival made or changed, from their folder when they are there; the seconds."""
        folder = self.work / f"{way.name} {self.exchanges}".replace(",", "").replace(" ", "-") / str(seed) / str(step)
        if not folder.is_dir():
            if step == 1 and way != OWN and self.rank(way) == self.recipe.rank:
                return self.step(OWN, seed, 1, served)  # from nothing every way begins alike
            started = time.monotonic()
            changed = way.add(served, self.task(way, self.order(seed)[step - 1], seed, served))
            self.save(changed, folder, time.monotonic() - started)
        return load(folder)

    def rank(self, way: Way) -> int:
        return self.recipe.rank * (len(self.people) if way.wide else 1)

    def task(self, way: Way, name: str, seed: int, served: Served) -> Task:
        """The newcomer's, with a start of its own: two blocks from one seed would begin with the same A, and ranks that
        lie in both would be there twice."""
        probes = max(1, self.exchanges // PROBES)
        task = common.task(self.bank, self.form, self.people[name], self.exchanges, seed, probes=probes)
        kin = common.nearest(name, self.roles, served) if way.warm and served else ()
        recipe = self.recipe.model_copy(update={"rank": self.rank(way)})  # alpha stays, as with the product's --rank
        return replace(task, recipe=recipe, seed=crc32(f"{seed}:{name}".encode()), neighbours=kin)

    def save(self, changed: Served, folder: Path, seconds: float) -> None:
        """Each block once, with whom it serves; the folder is renamed into place whole."""
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        for number, block in enumerate({id(block): block for block in changed.values()}.values()):
            (partial / str(number)).mkdir(parents=True)
            card = {"serves": [name for name, each in changed.items() if each is block], "seconds": seconds}
            save_block(block, partial / str(number), base=self.bank.base.name, card=card)
        partial.rename(folder)

    def read(self, name: str, block: Block | None, at: RankRange | None) -> tuple[list[float], list[int]]:
        """NLL and tokens of a character's test questions, the short ones first, under the block mounted at its range
        (None: the bare base).

        Blocks of disjoint ranges stay mounted beside it; the bank takes no two that overlap, so those make room.
        """
        rows = [self.form.row(common.said(name, *pair), last_only=True) for pair in self.people[name].tested]
        rows.sort(key=lambda row: len(row.tokens))  # little padding: a third of the time goes into reading
        if block is not None and at is not None:
            for other in self.bank.mounted:
                if other.start < at.stop and at.start < other.stop:
                    self.bank.evict(other)
            self.bank.mount(block, at)
        with self.bank.serving([{} if at is None else {at: 1.0}]):
            scores: list[Score] = score(self.bank.base, rows)
        return [each.total for each in scores], [each.tokens for each in scores]

    def keep(self, cell: Cell) -> None:
        common.store(self.path, cell)
        self.cells[cell.key] = cell
        nll = sum(cell.totals) / sum(cell.tokens)
        took = f", trained in {cell.seconds:.0f} s" if cell.seconds else ""
        where = f"{cell.way}, {cell.exchanges} exchanges, seed {cell.seed}, step {cell.step}"
        say(f"{where}: {cell.character} {nll:.3f} nats a token{took}")


def load(folder: Path) -> tuple[Served, float]:
    """What `Study.save` wrote."""
    changed: Served = {}
    seconds = 0.0
    for each in sorted(folder.iterdir()):
        card = json.loads((each / "neeko.json").read_text(encoding="utf-8"))
        seconds = card["seconds"]
        changed |= dict.fromkeys(card["serves"], load_block(each))
    return changed, seconds


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def main(folder: Path, exchanges: int = EXCHANGES) -> None:
    """Measure what is missing, and write the page after every seed."""
    from tests.studies import forgetting_page

    people = read(folder)
    study = Study(people, embedded_base(), common.roles(people), exchanges=exchanges)
    for seed in SEEDS:
        study.run(seed)
        forgetting_page.write(list(study.cells.values()))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("Name the folder of Character-LLM's data: make study-forgetting DATA=FOLDER [EXCHANGES=64]")
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
