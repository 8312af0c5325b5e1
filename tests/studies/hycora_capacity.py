"""How many roles an embedding space holds (the paper's open question 2): synthetic ones, whom nothing but e_c tells
apart. Knows a base and cohorts; nothing of the study's people.

Every role has a home, an animal and a trade out of sixteen each, and is asked for each of them in three wordings, under
one system message for all. Two wordings are learned; the third is the test: is the right word the likeliest of the
sixteen? Chance is 1/16. One that was learned is asked, too, to tell what is not held from what is not understood. Every
role is seen equally often, however many there are.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recipes.bank import Bank
from recipes.cohort import Learning, Member
from recipes.cohort_recipe import load_cohort_recipe
from recipes.exchanges import Messages, PromptForm, Row, with_system
from recipes.likelihood import reply_logits
from recipes.running import Progress, Run
from tests.studies import common

ROLES = (8, 64, 256)
SPACES = ((128, 28), (8, 28), (128, 128))  # d_c of the embedding, and k, the bottleneck of what writes
SETTINGS = ("contrast=0", "batch=32", "epochs=12", "learning_rate=0.0015")
WORDS = 16  # to choose from
LEARNED, ASKED = 0, 2  # places of wordings: the ones before the last are learned
SYSTEM = "You are yourself."
FACTS = {
    ("Where do you live?", "Where is your home?", "Which city do you call home?"): (
        "I live in {}.", "Paris London Rome Berlin Madrid Tokyo Cairo Boston Vienna Dublin Moscow Delhi Athens Chicago "
        "Sydney Oslo"),
    ("What animal do you keep?", "Do you have a pet?", "Which animal shares your house?"): (
        "I keep a {}.", "dog cat horse bird fish snake rabbit mouse goat pig duck cow turtle spider lion bear"),
    ("What is your trade?", "What do you do for a living?", "What work do you do?"): (
        "I work as a {}.", "doctor teacher farmer baker sailor lawyer painter soldier singer writer judge chef nurse "
        "driver pilot miner"),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """So many roles in an embedding and a bottleneck of these widths: how many of their facts were told, in a wording
    that was learned and in one that was not."""

    roles: int
    embedding: int
    bottleneck: int
    learned: int
    told: int
    asked: int
    steps: int

    @property
    def key(self) -> tuple[int, int, int]:
        return self.roles, self.embedding, self.bottleneck


@dataclass(frozen=True)
class Question:
    """A row whose one scored token says which of the words is meant."""

    row: Row
    words: list[int]  # first tokens


class Capacity:
    """What was measured so far; `work` keeps the state of a training that is not at its end."""

    def __init__(self, bank: Bank, path: Path, work: Path, report: Callable[[Progress], None],
                 settings: Sequence[str] = SETTINGS) -> None:  # fmt: skip
        self.bank, self.form = bank, PromptForm(bank.base.tokenizer)
        self.path, self.work, self.report, self.settings = path, work, report, settings
        self.cells = {cell.key: cell for cell in common.stored(self.path, Cell)}

    def run(self, amounts: Sequence[int] = ROLES, spaces: Sequence[tuple[int, int]] = SPACES) -> None:
        for roles in amounts:
            for space in spaces:
                if (roles, *space) not in self.cells:
                    cell = self.measure(roles, *space)
                    common.store(self.path, cell)
                    self.cells[cell.key] = cell

    def measure(self, roles: int, embedding: int, bottleneck: int) -> Cell:
        lives = _lives(roles)
        members = [Member(str(place), self.rows(life), []) for place, life in enumerate(lives)]
        widths = (f"character_width={embedding}", f"bottleneck={bottleneck}")
        recipe = load_cohort_recipe("hycora", (*self.settings, *widths))
        learning = Learning(self.bank, members, recipe, seed=0)
        checkpoint = self.work / f"{roles}-{embedding}-{bottleneck}.safetensors"
        state = Run(learning, recipe, checkpoint).go(self.report)
        learned, told = (sum(self.told(learning, place, life, wording) for place, life in enumerate(lives))
                         for wording in (LEARNED, ASKED))  # fmt: skip
        checkpoint.unlink(missing_ok=True)
        return Cell(roles, embedding, bottleneck, learned, told, roles * len(FACTS), state.step)

    def rows(self, life: Sequence[str]) -> list[Row]:
        return [self.form.row(_said(wording, reply.format(word))) for word, (wordings, (reply, _)) in
                zip(life, FACTS.items(), strict=True) for wording in wordings[:ASKED]]  # fmt: skip

    def told(self, learning: Learning, place: int, life: Sequence[str], wording: int) -> int:
        """How many of a role's facts its block tells when asked in this wording."""
        asked = [self.question(*each, wording) for each in zip(life, FACTS.items(), strict=True)]
        with torch.inference_mode(), self.bank.using(learning.block(place)):
            logits = reply_logits(self.bank.base, [question.row for question in asked]).logits
        likeliest = [int(row[each.words].argmax()) for row, each in zip(logits, asked, strict=True)]
        return sum(each.words[best] == each.row.tokens[-1] for best, each in zip(likeliest, asked, strict=True))

    def question(self, word: str, fact: tuple[tuple[str, ...], tuple[str, str]], wording: int) -> Question:
        wordings, (reply, words) = fact
        lead = reply.partition("{}")[0].rstrip()
        prompt = self.form.prompt(_said(wordings[wording], "")[:-1]) + self.tokens(lead)
        first = [self.tokens(f" {each}")[0] for each in words.split()]
        tokens = [*prompt, self.tokens(f" {word}")[0]]
        return Question(Row(tokens, [False] * len(prompt) + [True]), first)

    def tokens(self, text: str) -> list[int]:
        found: list[int] = self.bank.base.tokenizer.encode(text, add_special_tokens=False)
        return found


def _lives(roles: int) -> list[list[str]]:
    """A word of every fact for each; no two roles are alike."""
    order, found = random.Random(0), dict[tuple[str, ...], None]()
    while len(found) < roles:
        found[tuple(order.choice(words.split()) for _, words in FACTS.values())] = None
    return [list(life) for life in found]


def _said(question: str, reply: str) -> Messages:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return with_system(SYSTEM, turns)
