"""The second half of `make study-hycora`: each of the six as the newcomer after the other five, with 0 to 64 exchanges.
Knows what the first half trained; tells nothing of it.

The five are residents with blocks of their own (for fusions), a HyCoRA cohort, and a cohort of one shared block; both
cohorts also learn from the first turns of the five's conversations, as founders would. The newcomer is served by what
each of these gives it without training, by e_c alone, and by a block trained from nothing or started from any of them.
An eighth of what it brings is kept aside to stop its training by, as the product does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from recipes.block import Block
from recipes.cohort import Learning
from recipes.cohort_file import Cohort, load_cohort, save_cohort
from recipes.cohort_recipe import load_cohort_recipe
from recipes.expansion import expand
from recipes.fusion import fuse
from recipes.hyper import Entry, hyper
from recipes.recipe import AFTER_COHORT, DEFAULT_PRESET, load_recipe
from recipes.running import Run
from recipes.task import Task
from tests.studies import common
from tests.studies.character_llm import Interviewed
from tests.studies.hycora import Study, say
from tests.studies.hycora_ways import HYCORA, SHARED, Way

AMOUNTS = (0, 1, 4, 8, 16, 64)
TARGETS = {0: 0.66, 8: 0.62, 64: 0.58}  # of the base's perplexity at most, mean over newcomers
FINGERPRINT = "study"  # of the base, in the cohorts' files
TURNS = 2  # of each conversation of a founder's
COHORTS = {kind: replace(way, changes=("epochs=1",)) for kind, way in (("hycora", HYCORA), ("shared", SHARED))}
READING = replace(HYCORA, changes=("epochs=1", "persona=true", "id_dropout=0.2"))  # its newcomers bring a profile alone
HYPER, FROM = "hyper, ", "expand from "
AFTER = tuple(f"{FROM}{kind}" for kind in COHORTS)
PROFILE = f"{HYPER}profile"
METHODS = ("fuse", "expand", *(f"{HYPER}{kind}" for kind in COHORTS), PROFILE, f"{FROM}fuse", *AFTER)
ONCE = ("fuse", PROFILE)  # what exchanges change nothing of


@dataclass(frozen=True)
class Cell:
    """One newcomer by one method: nats of each test question, and their tokens."""

    newcomer: str
    method: str
    exchanges: int
    seed: int
    totals: list[float]
    tokens: list[int]

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.newcomer, self.method, self.exchanges, self.seed


class Newcomers:
    """What was measured so far, beside the study that trained the residents."""

    def __init__(self, study: Study) -> None:
        self.study, self.path = study, study.path.with_name("newcomers.jsonl")
        self.cells = {cell.key: cell for cell in common.stored(self.path, Cell)}

    def run(self, seed: int, amounts: tuple[int, ...] = AMOUNTS) -> None:
        """All of a seed that is missing."""
        for key in self.keys(seed, amounts):
            if key not in self.cells:
                person = next(each for each in self.study.people if each.name == key[0])
                cell = Cell(*key, *self.study.score(person, self.make(*key)))
                common.store(self.path, cell)
                self.cells[key] = cell
                say(f"{key[0]}, {key[1]}, {key[2]} exchanges, seed {seed}: {sum(cell.totals) / sum(cell.tokens):.3f}")

    def keys(self, seed: int, amounts: tuple[int, ...]) -> Iterator[tuple[str, str, int, int]]:
        """A newcomer after the other; what needs data only where there is some."""
        for person in self.study.people:
            for method in METHODS:
                for exchanges in amounts:
                    trains = method == "expand" or method.startswith(FROM)
                    if (exchanges or not trains) and (method not in ONCE or exchanges == amounts[0]):
                        yield person.name, method, exchanges, seed

    def make(self, name: str, method: str, exchanges: int, seed: int) -> Block:
        person = next(each for each in self.study.people if each.name == name)
        task = self.task(person, exchanges, seed, AFTER_COHORT if method in AFTER else DEFAULT_PRESET)
        if method.startswith(HYPER):
            return hyper(replace(task, entry=self.entry(method.removeprefix(HYPER), name, seed))).block
        start = method.removeprefix(FROM)
        if start in COHORTS:
            return expand(replace(task, entry=self.entry(start, name, seed))).block
        kin = [] if method == "expand" else common.nearest(name, self.study.roles, self.residents(name, seed))
        return (fuse if method == "fuse" else expand)(replace(task, neighbours=kin)).block

    def task(self, person: Interviewed, exchanges: int, seed: int, preset: str) -> Task:
        found = common.task(self.study.bank, self.study.form, person, exchanges, seed, probes=exchanges // 8)
        return replace(found, recipe=load_recipe(preset, ["averaging=0.98"]))

    def residents(self, newcomer: str, seed: int) -> dict[str, Block]:
        blocks = self.study.alone(seed)
        return {name: block for name, block in blocks.items() if name != newcomer}

    def entry(self, kind: str, newcomer: str, seed: int) -> Entry:
        if kind in COHORTS:
            return Entry(self.cohort(kind, COHORTS[kind], newcomer, seed), "")
        persona = torch.as_tensor(self.study.roles[newcomer]).float()
        return Entry(self.cohort(kind, READING, newcomer, seed), "", persona)

    def cohort(self, kind: str, way: Way, newcomer: str, seed: int) -> Cohort:
        """Of everybody else, from its folder when it is there."""
        folder = self.study.work / "cohorts" / kind / str(seed) / newcomer.replace(" ", "-")
        shapes = self.study.bank.base.shapes
        if not (folder / "network.safetensors").is_file():
            say(f"training the cohort ({kind}) that {newcomer} comes to, seed {seed}")
            members = [each for each in self.study.members(seed, TURNS) if each.name != newcomer]
            recipe = load_cohort_recipe(way.kind, way.changes)
            learning = Learning(self.study.bank, members, recipe, seed)
            Run(learning, recipe).go(self.study.report)
            found = Cohort("others", 1, learning.network, [each.name for each in members], None, learning.personas)
            _save(found, folder, shapes)
        return load_cohort(folder, base_fingerprint=FINGERPRINT, shapes=shapes)


def _save(cohort: Cohort, folder: Path, shapes: dict[str, tuple[int, int]]) -> None:
    """Renamed into place whole."""
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    save_cohort(cohort, partial, base_fingerprint=FINGERPRINT, shapes=shapes)
    partial.rename(folder)
