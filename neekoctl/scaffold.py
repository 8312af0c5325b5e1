"""A profile to start from, and the summary of one that is finished. Knows no model and no registry."""

import json
from pathlib import Path
from typing import Any

import yaml

from registry.errors import Fault, ProfileError, UsageError
from registry.heldout import split
from registry.names import is_a_name, slug
from registry.profile import Profile, load_profile

TEMPLATE = """\
name: {name}
aliases: []                   # other names people may use
language: en
persona: |
  Who this is, in two or three paragraphs of prose.
facts:                        # one plain sentence each
  - Born in ...
# era: {{until: 1900}}          # the last year this character can know about
# style: How this character speaks, in a sentence.
dialogues: {file}   # one conversation a line; sixty exchanges or more make a voice
"""
PLACEHOLDER = "Write here what"
EXCHANGES = [
    ("Hello!", f"{PLACEHOLDER} {{name}} would answer."),
    ("Where were you born?", f"{PLACEHOLDER} {{name}} would answer, in that unmistakable voice."),
]
FEW = 20  # replies


def scaffold(name: str, folder: Path) -> list[Path]:
    """Write `<name>.yaml` and `<name>.jsonl`; both are valid as they stand.

    Raises:
        UsageError: a file is already there, or the name gives no file name.
    """
    stem = slug(name)
    if not stem or not is_a_name(name):
        raise UsageError(f"{name!r} cannot be a name: use letters on one line, and begin with neither / nor -.")
    profile, dialogues = folder / f"{stem}.yaml", folder / f"{stem}.jsonl"
    if taken := [path.name for path in (profile, dialogues) if path.exists()]:
        raise UsageError(f"{taken[0]} is already there: choose another folder with --out.")
    folder.mkdir(parents=True, exist_ok=True)
    quoted = yaml.safe_dump(name, allow_unicode=True, default_flow_style=True).splitlines()[0]
    text = TEMPLATE.format(name=quoted, file=json.dumps(dialogues.name, ensure_ascii=False))
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
    if profile.dialogues and not parts.train:
        raise ProfileError([Fault(path.name, "dialogues", "too few: nothing is left to train on; add conversations")])
    return {
        "name": profile.name,
        "aliases": profile.aliases,
        "conversations": len(profile.dialogues),
        "exchanges": sum(len(talk.messages) // 2 for talk in profile.dialogues),
        "training_conversations": len(parts.train),
        "probes": [probe.prompt[-1].content for probe in parts.probes],
        "advice": _advice(profile),
    }


def _advice(profile: Profile) -> list[str]:
    """What is allowed and yet unwise."""
    replies = [turn.content for talk in profile.dialogues for turn in talk.messages[1::2]]
    advice = []
    if any(reply.startswith(PLACEHOLDER) for reply in replies):
        advice.append("some replies are still the scaffold's: write your own, or the character will say them")
    if not replies:
        return ["nothing can be trained on; --strategy hyper and --strategy fuse need no dialogues"]
    if len(replies) < FEW:
        few = f"{len(replies)} replies are few: a voice begins at about {FEW}, and sixty make it unmistakable"
        advice.append(f"{few}; --strategy auto makes the most of fewer")
    return advice
