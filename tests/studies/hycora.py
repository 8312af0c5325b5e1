"""`make study-hycora DATA=FOLDER`: characters that share what is common and keep what is theirs.

Character-LLM's six characters are trained together in every way of hycora_ways: each with a block of its own, all with
one block, and with a network that writes a half for each. Everybody's replies to 25 questions that nothing was trained
or stopped on are read under the own block and under the nearest other's.

Resumable: every reading is a line of docs/studies/hycora/*.jsonl, every way's blocks a folder of .bench/studies/hycora.
What was tried, newcomers and the capacity come once, with the first seed; the page is written after every part.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from recipes.bank import Bank
from recipes.base_model import BaseModel
from recipes.block import Block, load_block, save_block
from recipes.cohort import Member
from recipes.engine import replies
from recipes.exchanges import PromptForm, Row
from recipes.gate import Decision, Gate, Scorer, nobodys_requests
from recipes.gate_fitting import fit
from recipes.likelihood import scored_under
from recipes.mentions import Names
from recipes.running import Progress
from registry.ranks import RankRange
from tests.bench.figure import BENCH_HOME, embedded_base
from tests.studies import common
from tests.studies.character_llm import Interviewed, read
from tests.studies.gate import roles_of
from tests.studies.hycora_capacity import SPACES, Capacity
from tests.studies.hycora_ways import INDEPENDENT, TABLE, TRIED, Trained, Way, together
from tests.studies.starters import starters

READINGS = Path(__file__).parents[2] / "docs" / "studies" / "hycora"  # what the page is made of
WORK = BENCH_HOME / "studies" / "hycora"  # what takes long to make, and can be made again
SEEDS = (0, 1, 2)
EXCHANGES, PROBES = 64, 8  # a character's, and those of them that are kept aside to stop a training by
REPLY_TOKENS = 64
BASE = "bare base"
WRITTEN = "written"  # folder of what the network wrote


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
    rouge: list[float] = field(default_factory=list)  # ROUGE-L and BLEU of what is written to each
    bleu: list[float] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, int, str]:
        return self.way, self.seed, self.character


class Study:
    """The base, the cast, and what was measured so far: lines of `path`, blocks in `work`. `picks` is whom a gate takes
    each test question to be for."""

    def __init__(self, people: Sequence[Interviewed], base: BaseModel, roles: Mapping[str, Any], path: Path, work: Path,
                 exchanges: int = EXCHANGES, probes: int = PROBES) -> None:  # fmt: skip
        self.roles, self.path, self.work, self.exchanges, self.probes = roles, path, work, exchanges, probes
        self.bank, self.form = Bank(base), PromptForm(base.tokenizer)
        self.people = [replace(person, tested=self.short_first(person)) for person in people]
        self.picks: Mapping[str, Sequence[str]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self.cells = {cell.key: cell for cell in common.stored(path, Cell)}

    def run_all(self, ways: Sequence[Way], seed: int) -> None:
        for way in ways:
            self.run(way, seed)

    def run(self, way: Way, seed: int) -> None:
        """All of a way and seed that is missing."""
        missing = [person for person in self.people if (way.name, seed, person.name) not in self.cells]
        if missing and way.kind == "gated":
            blocks = self.alone(seed)
            for person in missing:
                self.keep(self.routed(way, seed, person, blocks))
        elif missing:
            done = self.train(way, seed)
            for person in self.people:
                self.keep(self.read(way, seed, person, done))

    def train(self, way: Way, seed: int) -> Trained:
        """Everybody in this way; what comes of it is kept."""
        own = {} if way.kind == "independent" else self.alone(seed)
        done = together(self.bank, self.members(seed), way, seed, own, self.report)
        self.save(done.blocks, self.folder(way, seed))
        self.save(done.written, self.folder(way, seed) / WRITTEN)
        return done

    def alone(self, seed: int) -> dict[str, Block]:
        """Everybody's block that was trained alone: a cohort's own parts are the same blocks."""
        self.run(INDEPENDENT, seed)
        if not self.lies_here(INDEPENDENT, seed):
            self.train(INDEPENDENT, seed)
        return self.load(INDEPENDENT, seed)

    def read_base(self) -> None:
        for person in self.people:
            if (BASE, 0, person.name) not in self.cells:
                rouge, bleu = self.write(person, None)
                self.keep(Cell(BASE, 0, person.name, *self.score(person, None), [], rouge=rouge, bleu=bleu))

    def members(self, seed: int, turns: int = 0) -> list[Member]:
        """Everybody; with so many turns of each conversation, too."""
        found = []
        for person in self.people:
            task = common.task(self.bank, self.form, person, self.exchanges, seed, probes=self.probes)
            talks = [self.form.row(common.talked(person.name, talk[:turns])) for talk in person.conversations if turns]
            persona = torch.as_tensor(self.roles[person.name]).float()
            found.append(Member(person.name, [*task.rows(), *talks], task.probes(), persona))
        return found

    def read(self, way: Way, seed: int, person: Interviewed, done: Trained) -> Cell:
        block = done.blocks[person.name]
        own, tokens = self.score(person, block)
        other = [] if way.is_of_one_block else self.score(person, done.blocks[self.nearest(person.name)])[0]
        spoken = () if way.why else self.write(person, block)  # what was only tried is not asked to speak
        return Cell(way.name, seed, person.name, own, tokens, other, done.likeness, done.steps, done.best_step,
                    *spoken)  # fmt: skip

    def routed(self, way: Way, seed: int, person: Interviewed, blocks: Mapping[str, Block]) -> Cell:
        """Every question under the block of whom the gate takes it to be for."""
        picks, asked = self.picks[person.name], person.tested
        found: dict[int, tuple[float, int, float, float]] = {}
        for name in dict.fromkeys(picks):
            places = [place for place, pick in enumerate(picks) if pick == name]
            part = replace(person, tested=[asked[place] for place in places])
            read = zip(*self.score(part, blocks[name]), *self.write(part, blocks[name]), strict=True)
            found |= dict(zip(places, read, strict=True))
        own, tokens, rouge, bleu = (list(each) for each in zip(*(found[at] for at in sorted(found)), strict=True))
        return Cell(way.name, seed, person.name, own, tokens, rouge=rouge, bleu=bleu)

    def write(self, person: Interviewed, block: Block | None) -> tuple[list[float], list[float]]:
        """ROUGE-L and BLEU of the greedy replies."""
        prompts = [self.form.prompt(common.said(person.name, *pair)[:-1]) for pair in person.tested]
        mix = {}
        if block is not None:
            at = RankRange(0, block.rank)
            self.bank.mount(block, at)
            mix = {at: 1.0}
        written = replies(self.bank, prompts, mix=mix, stop=self.form.stop, max_new_tokens=REPLY_TOKENS)
        texts = [self.bank.base.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in written]
        return common.overlap([reply for _, reply in person.tested], texts)

    def nearest(self, name: str) -> str:
        """By role embedding, as the product chooses a rival."""
        others = [person.name for person in self.people if person.name != name]
        return max(others, key=lambda other: float(self.roles[name] @ self.roles[other]))

    def score(self, person: Interviewed, block: Block | None) -> tuple[list[float], list[int]]:
        """Nats and tokens of the test questions."""
        rows = [self.row(person, pair) for pair in person.tested]
        scores = scored_under(self.bank, block, rows)
        return [round(each.total, 4) for each in scores], [each.tokens for each in scores]

    def short_first(self, person: Interviewed) -> list[tuple[str, str]]:
        """The test questions, so that batches hold little padding."""
        return sorted(person.tested, key=lambda pair: len(self.row(person, pair).tokens))

    def row(self, person: Interviewed, pair: tuple[str, str]) -> Row:
        return self.form.row(common.said(person.name, *pair), last_only=True)

    def folder(self, way: Way, seed: int) -> Path:
        return self.work / way.name.replace(" ", "-").replace(",", "") / str(seed)

    def lies_here(self, way: Way, seed: int) -> bool:
        """Whether the blocks do: the readings travel with the project, and may have been made elsewhere."""
        return (self.folder(way, seed) / WRITTEN).is_dir()

    def save(self, blocks: Mapping[str, Block], folder: Path) -> None:
        """For what is looked at later: newcomers' kin, figures of the halves."""
        for name, block in blocks.items():
            path = folder / name.replace(" ", "-")
            path.mkdir(parents=True, exist_ok=True)
            save_block(block, path, base=self.bank.base.name, card={"serves": name})

    def load(self, way: Way, seed: int) -> dict[str, Block]:
        return self._loaded(self.folder(way, seed))

    def written(self, way: Way, seed: int) -> dict[str, Block]:
        """What of everybody's block a network wrote."""
        return self._loaded(self.folder(way, seed) / WRITTEN)

    def _loaded(self, folder: Path) -> dict[str, Block]:
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


def picked(study: Study, encoder: Any) -> dict[str, list[str]]:
    """Whom the gate takes each test question to be for, by its words alone: nobody is named in most."""
    known = roles_of(study.people, encoder)
    scorer = Scorer(known, encoder.encode(nobodys_requests()), "prototypes")
    names = Names({owner: [person.name] for owner, person in enumerate(study.people, start=1)})
    gate = Gate(names, scorer, fit(scorer)[0])
    return {person.name: [_first(gate.route([question], encoder.encode), study, person) for question, _ in
                          person.tested] for person in study.people}  # fmt: skip


def _first(decision: Decision, study: Study, speaker: Interviewed) -> str:
    """The likeliest; where nobody is, whoever was asked."""
    return study.people[decision.candidates[0].owner - 1].name if decision.candidates else speaker.name


def main(folder: Path) -> None:
    """Measure what is missing, and write the page."""
    from tests.studies import hycora_page
    from tests.studies.hycora_newcomers import TARGETS, Newcomers

    base, encoder = embedded_base(), common.encoder()
    studies = []
    for people, name, sizes in ((read(folder), "cast", (EXCHANGES, PROBES)), (starters(), "starters", (62, 8))):
        study = Study(people, base, common.roles(people), READINGS / f"{name}.jsonl", WORK / name, *sizes)
        study.picks = picked(study, encoder)
        study.read_base()
        studies.append(study)
    cast, shipped = studies
    newcomers = Newcomers(cast)
    capacity = Capacity(cast.bank, cast.path.with_name("capacity.jsonl"), WORK / "capacity", cast.report)
    first, second, third = ([partial(study.run_all, TABLE, seed) for study in studies] for seed in SEEDS)
    for part in (
        *first,
        partial(newcomers.run, SEEDS[0], tuple(TARGETS)),
        partial(newcomers.run, SEEDS[0]),
        partial(capacity.run, spaces=SPACES[:1]),
        *second,
        partial(cast.run_all, TRIED, SEEDS[0]),
        capacity.run,
        *third,
    ):
        part()
        hycora_page.write(cast, shipped)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of Character-LLM's data: make study-hycora DATA=FOLDER")
    main(Path(sys.argv[1]))
