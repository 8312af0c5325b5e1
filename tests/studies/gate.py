"""`make study-gate DATA=FOLDER`: which signal finds whom a question is for, on Character-LLM's six characters.

Writes docs/studies/gate.md. Known: all but 25 questions a character (those whose prompt hashes lowest are the test).
"""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from recipes.gate import SCORED, Decision, Gate, Scorer, nobodys_requests
from recipes.gate_fitting import fit, train_head
from recipes.mentions import Names
from recipes.sources import DEFAULT_ENCODER
from registry.roles import KINDS, Roles
from tests.studies import common
from tests.studies.character_llm import Interviewed, read

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "gate.md"
TURNS = 3
OFF_TOPIC = """\
What's the forecast for London on Saturday?|Could you write me a bash script to rename files?|How do I bake sourdough?
Can you debug this C++ template error?|Is it going to snow next week?|Give me a low-carb recipe with tofu
How to implement a linked list in Go?|What temperature should I roast a chicken at?|How windy is it in Oslo?
Explain how to use async await in TypeScript|Write a sorting function in Ruby|How do I make pancakes without eggs?
what's the best way to learn react|Do I need sunscreen today?|How do I set up a virtual environment?
What's a good marinade for steak?|Convert 30 celsius to fahrenheit|How do I merge two branches in git?
Will there be thunderstorms tonight?|How long do I cook lentils?""".replace("\n", "|").split("|")

TEXT = """\
# Whom is a question for?

`make study-gate DATA=FOLDER`, written {date}. Six characters of Character-LLM, encoder {encoder}. Of each character's
questions the {each} whose prompt hashes lowest are tested ({tested} in all), the other {known} are known. Settings are
fitted on the known ones, each scored without itself. Many questions name nobody and fit everyone: those are to be asked
back, not guessed.

| signal, single question | top-1 | decided by itself | accuracy on those |
|---|---|---|---|
{rows}

| what | share |
|---|---|
| {turns} user turns of a conversation, the owner likeliest, names read | {talks:.3f} |
| the same by words alone | {silent:.3f} |
| the name before the question | {named:.3f} |
| {count} requests off topic (weather, code, recipes) called unknown | {off:.3f} |

The mean over the nearest known questions beats the centroid because a character is asked about several things, and
their mean is none of them. The contrastive head draws the known questions apart nearly perfectly and new ones no
better, so its probabilities, fitted on what it was trained on, promise too much: it stays an option (`--gate head`) and
is not the default. Neeko's way, one embedding of the profile, is `--gate similarity`.
"""


def main(folder: Path) -> None:
    """Measure every signal, and write the page."""
    people = read(folder)
    encoder = common.encoder()
    roles, nobody = roles_of(people, encoder), encoder.encode(nobodys_requests())
    names = Names({owner: [person.name] for owner, person in enumerate(people, start=1)})
    head = train_head(roles)
    gates = {}
    for signal in SCORED:
        scorer = Scorer(roles, nobody, signal, head)
        gates[signal] = Gate(names, scorer, fit(scorer)[0], signal)
    rows = [_row(signal, gate, people, encoder) for signal, gate in gates.items()]
    whole = Gate(names, gates["prototypes"].scorer, gates["prototypes"].settings)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(_page([_centroid(people, encoder), *rows], whole, people, encoder), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")


def roles_of(people: Sequence[Interviewed], encoder: Any) -> Roles:
    """What speaks for each: the opening of the profile, and the questions that are known. Owners count from 1."""
    vectors, owners, kinds = [], [], []
    for owner, person in enumerate(people, start=1):
        for kind, texts in (
            ("persona", person.passages[: common.PASSAGES]),
            ("prompt", [question for question, _ in person.known]),
        ):
            vectors.append(encoder.encode(texts))
            owners += [owner] * len(texts)
            kinds += [KINDS.index(kind)] * len(texts)
    return Roles(np.array(owners), np.array(kinds, dtype=np.int8), np.concatenate(vectors))


def _asked(gate: Gate, texts: list[str], encoder: Any) -> Decision:
    return gate.route(texts, encoder.encode)


def _row(signal: str, gate: Gate, people: list[Interviewed], encoder: Any) -> tuple[str, float, float, float]:
    """(signal, top-1, share decided, accuracy on that share) over single questions."""
    asked = [(owner, _asked(gate, [question], encoder)) for owner, person in enumerate(people, start=1)
             for question, _ in person.tested]  # fmt: skip
    top = np.mean([bool(each.candidates) and each.candidates[0].owner == owner for owner, each in asked])
    decided = [each.owner == owner for owner, each in asked if each.outcome == "match"]
    return signal, float(top), len(decided) / len(asked), float(np.mean(decided)) if decided else float("nan")


def _centroid(people: list[Interviewed], encoder: Any) -> tuple[str, float, float, float]:
    """The nearest centroid of known questions and replies: what has to be beaten."""
    centres = []
    for person in people:
        centre = encoder.encode([text for pair in person.known for text in pair]).mean(0)
        centres.append(centre / np.linalg.norm(centre))
    hits = [int((encoder.encode([question]) @ np.stack(centres).T).argmax()) == place
            for place, person in enumerate(people) for question, _ in person.tested]  # fmt: skip
    return "centroid similarity", float(np.mean(hits)), float("nan"), float("nan")


def _page(rows: list[tuple[str, float, float, float]], gate: Gate, people: list[Interviewed], encoder: Any) -> str:
    turns = [(owner, [question for question, _ in talk[:TURNS]]) for owner, person in enumerate(people, start=1)
             for talk in person.conversations if len(talk) >= TURNS]  # fmt: skip
    talks = [(owner, _asked(gate, asked, encoder)) for owner, asked in turns]
    by_words = Gate(gate.names, gate.scorer, gate.settings, "prototypes")
    silent = [(owner, _asked(by_words, asked, encoder)) for owner, asked in turns]
    named = [_asked(gate, [f"{person.name}, {question[0].lower()}{question[1:]}"], encoder).owner == owner
             for owner, person in enumerate(people, start=1) for question, _ in person.tested]  # fmt: skip
    off = Counter(_asked(gate, [text], encoder).outcome for text in OFF_TOPIC)
    rows_ = "\n".join(f"| {name} | {top:.3f} | {_blank(share)} | {_blank(right)} |" for name, top, share, right in rows)
    return TEXT.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}", encoder=DEFAULT_ENCODER, each=len(people[0].tested),
        tested=sum(len(person.tested) for person in people), known=sum(len(person.known) for person in people),
        rows=rows_, turns=TURNS, talks=_top(talks), silent=_top(silent), named=float(np.mean(named)),
        count=len(OFF_TOPIC), off=off["unknown"] / len(OFF_TOPIC),
    )  # fmt: skip


def _top(asked: list[tuple[int, Decision]]) -> float:
    return float(np.mean([bool(each.candidates) and each.candidates[0].owner == owner for owner, each in asked]))


def _blank(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of Character-LLM's data: make study-gate DATA=FOLDER")
    main(Path(sys.argv[1]))
