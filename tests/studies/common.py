"""What the studies have in common: a character's task, who is nearest to it, and cells kept as lines of JSON."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from recipes.bank import Bank
from recipes.block import Block
from recipes.encoder import load_encoder
from recipes.exchanges import Messages, PromptForm, with_system
from recipes.recipe import Merging, load_recipe
from recipes.sources import DEFAULT_ENCODER, fingerprint, local_folder
from recipes.task import Neighbour, Task
from recipes.weights import softmax
from registry.heldout import prompt_hash, split
from registry.profile import Conversation, Message
from tests.bench.figure import bench_layout
from tests.studies.character_llm import Interviewed

NEIGHBOURS = 3
PASSAGES = 6  # of the profile: about what a persona says

Cell = TypeVar("Cell")
Exchange = tuple[str, str]  # a question and its reply


def said(name: str, question: str, reply: str) -> Messages:
    """A question and its reply, as a character's own."""
    return talked(name, [(question, reply)])


def talked(name: str, exchanges: Iterable[Exchange]) -> Messages:
    """A conversation of several, as a character's own."""
    turns = [{"role": role, "content": text} for exchange in exchanges
             for role, text in zip(("user", "assistant"), exchange, strict=True)]  # fmt: skip
    return with_system(f"You are {name}.", turns)


def task(bank: Bank, form: PromptForm, person: Interviewed, exchanges: int, seed: int, *, probes: int = 0) -> Task:
    """The newcomer with so many exchanges, drawn by the seed; probes are kept aside as the product does, or so many.

    The product keeps what hashes lowest, and here that is tested: of the rest it finds one.
    """
    known = person.known.copy()
    random.Random(f"{seed}:{person.name}").shuffle(known)
    train, heldout = _lowest(known[:exchanges], probes) if probes else _split(known[:exchanges])
    learned, aside = ([said(person.name, *pair) for pair in pairs] for pairs in (train, heldout))
    return Task(person.name, bank, form, load_recipe("standard", []), learned, aside, seed)


def _lowest(pairs: list[Exchange], probes: int) -> tuple[list[Exchange], list[Exchange]]:
    """To train on and kept aside, those whose prompt hashes lowest."""
    aside = sorted(pairs, key=lambda pair: prompt_hash(pair[0]))[:probes]
    return [pair for pair in pairs if pair not in aside], aside


def _split(pairs: list[Exchange]) -> tuple[list[Exchange], list[Exchange]]:
    """The same, as the product splits them."""
    parts = split([_conversation(*pair) for pair in pairs])
    train = [(talk.messages[0].content, talk.messages[1].content) for talk in parts.train]
    return train, [(probe.prompt[-1].content, probe.reference) for probe in parts.probes]


def _conversation(question: str, reply: str) -> Conversation:
    return Conversation(messages=[Message(role="user", content=question), Message(role="assistant", content=reply)])


def overlap(references: Sequence[str], written: Sequence[str]) -> tuple[list[float], list[float]]:
    """ROUGE-L (F1) and BLEU (0 to 1, smoothed) of each reply."""
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import sentence_bleu

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    pairs = list(zip(references, written, strict=True))
    return ([scorer.score(said, text)["rougeL"].fmeasure for said, text in pairs],
            [sentence_bleu(text, [said]).score / 100 for said, text in pairs])  # fmt: skip


def roles(people: Iterable[Interviewed]) -> dict[str, Any]:
    """Role embeddings of the opening of each profile, by name."""
    texts = {person.name: "\n\n".join(person.passages[:PASSAGES]) for person in people}
    return dict(zip(texts, encoder().encode(list(texts.values())), strict=True))


@cache
def encoder() -> Any:
    """The default one, loaded once."""
    folder = local_folder(bench_layout(), DEFAULT_ENCODER)
    return load_encoder(folder, name=DEFAULT_ENCODER, fingerprint=fingerprint(bench_layout(), folder))


def nearest(name: str, roles: Mapping[str, Any], blocks: Mapping[str, Block]) -> list[Neighbour]:
    """The nearest of those who have blocks, by role embedding, weighted as the product weights them."""
    likeness = {other: float(roles[name] @ roles[other]) for other in blocks if other != name}
    found = sorted(likeness, key=lambda other: -likeness[other])[:NEIGHBOURS]
    weights = softmax([likeness[other] for other in found], Merging().temperature)
    return [Neighbour(other, "", blocks[other], weight) for other, weight in zip(found, weights, strict=True)]


def stored(path: Path, kind: type[Cell]) -> list[Cell]:
    """What was measured so far."""
    return [kind(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def store(path: Path, cell: Any) -> None:
    """Add a cell, in one write: a killed study leaves it whole or not at all."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(cell)) + "\n")
