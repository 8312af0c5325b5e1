"""Profiles for tests: small files as text, and the faults of one as a user reads them."""

import json
from pathlib import Path

import pytest

from registry.errors import Fault, ProfileError
from registry.profile import Profile, load_profile

GOOD = "name: Moth\npersona: lives in a lamp\ndialogues: moth.jsonl\n"
TALK = '{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Dust!"}]}\n'
INLINE = "dialogues: [{messages: [{role: user, content: Who?}, {role: assistant, content: Dust!}]}]\n"
WITH_TEXT = "must be text; put it in quotes if it looks like a number"
BESIDE = "must name a .jsonl file beside the profile"
ONE_LINE = "must be one printable line without ##[ that does not begin with /, - or ::"
CUT_OFF = "what follows ` #` is a comment and would be lost; put the text in quotes, or a space behind the #"
NESTED = "is nested deeper than 12 levels"
ANCHORS = "anchors and aliases are not allowed; write the value out, or put text that begins with * or & in quotes"
QUOTES = "; put the text in quotes, or mend the indentation"
NO_MAPPING = "must be a mapping with `name`, `persona` and `dialogues`"
ANEW = ("write a profile with `neekoctl profile new NAME`, put the description into persona and the example dialogues "
        "into the .jsonl (docs/recipes.md says how)")  # fmt: skip
SHAREGPT = "holds ShareGPT's conversations; docs/recipes.md has a script that makes a .jsonl of them"
TURNS = "user and assistant must take turns, the user first and the assistant last; messages"


def write(folder: Path, text: str | bytes = GOOD, talks: str | bytes = TALK, name: str = "moth.yaml") -> Path:
    """A profile of exactly this text, beside a moth.jsonl of exactly these lines."""
    for path, content in ((folder / "moth.jsonl", talks), (folder / name, text)):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def faults(path: Path) -> list[str]:
    """Every fault of the profile, as a user reads it."""
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert all(isinstance(fault, Fault) for fault in caught.value.faults)
    for fault in caught.value.faults:
        assert str(fault) in str(caught.value)
    return [str(fault) for fault in caught.value.faults]


def read(folder: Path, text: str | bytes = GOOD, talks: str | bytes = TALK) -> Profile:
    return load_profile(write(folder, text, talks))


def talk(*turns: tuple[str, object]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}) + "\n"
