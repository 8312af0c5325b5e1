"""A profile to start from, and the summary of one that is finished. Knows no model and no registry."""

import json
import re
from pathlib import Path
from typing import Any

from registry.errors import UsageError
from registry.heldout import Split, split
from registry.names import NO_NAME, is_a_name, slug, spaced
from registry.profile import LONGEST_NAME, Profile, load_profile

TEMPLATE = """\
name: {name}
aliases: []                   # other names people may use
language: en
persona: |
  {persona}
facts:                        # one plain sentence each
  - {fact}
# era: {{from: 1850, until: 1900}}
# style: How this character speaks, in a sentence.
dialogues: {file}   # one conversation a line; sixty exchanges or more make a voice
"""
PERSONA, FACT, PLACEHOLDER = "Who this is, in two or three paragraphs of prose.", "Born in ...", "Write here what"
EXCHANGES = [
    ("Hello!", f"{PLACEHOLDER} {{name}} would answer."),
    ("Where were you born?", f"{PLACEHOLDER} {{name}} would answer, in that unmistakable voice."),
]
MACRO = re.compile(r"\{\{\s*(?:char|user)\s*\}\}", re.IGNORECASE)  # of character cards; nothing fills it in here
UNFINISHED = (
    "parts of the profile are still the scaffold's (persona, facts or replies), or hold a card's {{char}} or {{user}}, "
    "which is learned as it stands: write your own"
)
FEW = 20  # replies


def scaffold(name: str, folder: Path) -> list[Path]:
    """Write `<name>.yaml` and `<name>.jsonl`; both are valid as they stand.

    Raises:
        UsageError: a file is already there, or the name gives no file name.
    """
    stem = slug(name)
    name = spaced(name).strip()
    if not is_a_name(name) or len(name) > LONGEST_NAME:
        raise UsageError(f"{name!r} cannot be a name: it {NO_NAME}, {LONGEST_NAME} characters at most.")
    if not stem:
        raise UsageError(f"{name!r} cannot be a name of files: it needs a letter or a digit.")
    profile, dialogues = folder / f"{stem}.yaml", folder / f"{stem}.jsonl"
    if taken := [path.name for path in (profile, dialogues) if path.exists()]:
        raise UsageError(f"{taken[0]} is already there: choose another folder with --out.")
    folder.mkdir(parents=True, exist_ok=True)
    quoted, file = (json.dumps(each, ensure_ascii=False) for each in (name, dialogues.name))
    text = TEMPLATE.format(name=quoted, file=file, persona=PERSONA, fact=FACT)
    profile.write_text(text, encoding="utf-8")
    dialogues.write_text("".join(_line(name, *exchange) for exchange in EXCHANGES), encoding="utf-8")
    return [profile, dialogues]


def _line(name: str, question: str, answer: str) -> str:
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer.replace("{name}", name)},
    ]
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"


def validation(path: Path) -> dict[str, Any]:
    """What a good profile holds. Raises ProfileError with every fault otherwise."""
    profile = load_profile(path)
    parts = split(profile.dialogues)
    return {
        "name": profile.name,
        "aliases": profile.aliases,
        "conversations": len(profile.dialogues),
        "exchanges": sum(len(talk.messages) // 2 for talk in profile.dialogues),
        "training_conversations": len(parts.train),
        "probes": [probe.prompt[-1].content for probe in parts.probes],
        "advice": _advice(profile, parts),
    }


def is_unfinished(profile: Profile) -> bool:
    """Whether some of it is still the scaffold's, or waits for a name to be filled in."""
    replies = (turn.content for talk in profile.dialogues for turn in talk.messages[1::2])
    unwritten = any(reply.startswith(PLACEHOLDER) for reply in replies)
    unfilled = MACRO.search(profile.model_dump_json()) is not None
    return unwritten or unfilled or FACT in profile.facts or profile.persona.strip() == PERSONA


def _advice(profile: Profile, parts: Split) -> list[str]:
    """What is allowed and yet unwise."""
    replies = [turn.content for talk in profile.dialogues for turn in talk.messages[1::2]]
    advice = []
    if is_unfinished(profile):
        advice.append(UNFINISHED)
    if not replies:
        return [*advice, "nothing can be trained on; --strategy hyper and --strategy fuse need no dialogues"]
    if not parts.probes:
        alike = "all conversations ask the same, so no probe is kept aside"
        advice.append(f"{alike}: nothing will be measured, and nothing stops the training early; add other prompts")
    if not parts.train:
        advice.append("every conversation holds a probe, so nothing is left to train on: split long ones, or add some")
    if len(replies) < FEW:
        few = f"{len(replies)} replies are few: a voice begins at about {FEW}, and sixty make it unmistakable"
        advice.append(f"{few}; --strategy auto makes the most of fewer")
    return advice
