"""Reads Character-LLM's published interviews (github.com/choosewhatulike/trainable-agents) in their own layout.

profiles/wiki_<Name>.txt            "# Full name", then paragraphs
interview_single/<Name>*/*.json     [{"question", "reply": [{"content"}]}]
interview_turns/multiturn_<Name>*/*.jsonl   {"content": [{"turn_role", "turn_content": [{"content"}]}]}
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from registry.heldout import prompt_hash

TESTED = 25  # questions a character, those that hash lowest


@dataclass(frozen=True)
class Interviewed:
    """One character: question and reply pairs to know and to be tested on, and conversations of several."""

    name: str
    passages: list[str]
    known: list[tuple[str, str]]
    tested: list[tuple[str, str]]
    conversations: list[list[tuple[str, str]]]


def read(folder: Path) -> list[Interviewed]:
    """Everybody, in the order of the profile files.

    Raises:
        FileNotFoundError: the folder is not in Character-LLM's layout.
    """
    profiles = sorted((folder / "profiles").glob("wiki_*.txt"))
    if not profiles:
        raise FileNotFoundError(f"{folder} holds no profiles/wiki_<Name>.txt: name the folder of Character-LLM's data.")
    return [_read(folder, path) for path in profiles]


def _read(folder: Path, profile: Path) -> Interviewed:
    stem = profile.stem.removeprefix("wiki_")
    title, *rest = profile.read_text(encoding="utf-8").splitlines()
    pairs = dict(_single(folder, stem))
    ordered = sorted(pairs.items(), key=lambda pair: prompt_hash(pair[0]))
    return Interviewed(title.lstrip("# ").strip(), [line.strip() for line in rest if line.strip()],
                       ordered[TESTED:], ordered[:TESTED], _conversations(folder, stem))  # fmt: skip


def _single(folder: Path, stem: str) -> list[tuple[str, str]]:
    path = _only(folder / "interview_single", stem, "json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [(row["question"].strip(), " ".join(turn["content"] for turn in row["reply"])) for row in rows]


def _conversations(folder: Path, stem: str) -> list[list[tuple[str, str]]]:
    path = _only(folder / "interview_turns", stem, "jsonl")
    talks = [json.loads(line)["content"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [_exchanges(talk) for talk in talks]


def _exchanges(talk: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each question with the reply that follows it."""
    found = []
    for turn, after in pairwise(talk):
        if turn["turn_role"] == "interviewer" and after["turn_role"] != "interviewer":
            asked, told = (" ".join(each["content"] for each in one["turn_content"]) for one in (turn, after))
            found.append((asked.strip(), told.strip()))
    return found


def _only(folder: Path, stem: str, suffix: str) -> Path:
    """The file of a character; one folder spells Hermione otherwise, so consonants decide."""
    found = [path for path in sorted(folder.glob(f"*/*.{suffix}")) if _bones(stem) in _bones(path.parent.name)]
    if not found:
        raise FileNotFoundError(f"{folder} holds nothing for {stem}.")
    return found[0]


def _bones(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalpha() and letter not in "aeiou")
