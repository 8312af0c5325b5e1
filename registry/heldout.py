"""Which prompts are kept aside as probes: chosen by a hash of the prompt alone, so that the order of the file, or
how often it is read, changes nothing. Knows nothing of models or the database.

A prompt that many conversations share, such as a greeting, is never one. A conversation in which any user turn is a
probe prompt is left out of training whole, so a probe's prompt never reaches training, wherever it turns up again.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from registry.errors import NeekoError
from registry.names import fold
from registry.profile import Conversation, Message

SHARE = 1 / 8  # of the distinct prompts
MOST = 32  # more probes than this cost time at every check and prove little more


@dataclass(frozen=True)
class Probe:
    """A prompt (with the turns before it) and the reference reply kept aside with it."""

    prompt: tuple[Message, ...]
    reference: str


@dataclass(frozen=True)
class Split:
    """Conversations to train on, and probes kept aside; no probe's prompt is in `train`."""

    train: list[Conversation]
    probes: list[Probe]


def refuse_nothing_to_learn(name: str, train: Sequence[object], instead: str = "add some more") -> None:
    """Raises NeekoError when no conversation of a character is left to train on."""
    if not train:
        told = f"{name} has too few dialogues: nothing is left to train on once probes are kept aside"
        raise NeekoError(f"{told}; {instead}.")


def prompt_hash(prompt: str) -> float:
    """A prompt's place in [0, 1): equal for prompts that differ only in case, accents or spacing."""
    return int.from_bytes(hashlib.sha256(fold(prompt).encode()).digest()[:8]) / 2**64


def split(conversations: list[Conversation]) -> Split:
    """Keep aside the prompts that hash below `SHARE`: at least one when there are two, at most `MOST`."""
    prompts = [{prompt_hash(turn.content) for turn in talk.messages[::2]} for talk in conversations]
    spread = Counter(place for places in prompts for place in places)
    rare = max(1, int(SHARE * len(conversations)))  # conversations that one probe may cost the training
    hashes = sorted(place for place, talks in spread.items() if talks <= rare)
    below = sum(place < SHARE for place in hashes)
    count = min(max(below, 1), MOST, len(hashes), len(spread) - 1)
    aside = set(hashes[:count])
    train, probes = [], []
    for talk in conversations:
        found = [turn for turn in range(0, len(talk.messages), 2) if prompt_hash(talk.messages[turn].content) in aside]
        if not found:
            train.append(talk)
        for turn in found:
            probes.append(Probe(tuple(talk.messages[: turn + 1]), talk.messages[turn + 1].content))
    probes.sort(key=_place)
    return Split(train, _one_a_prompt(probes))


def _place(probe: Probe) -> tuple[float, list[str], str]:
    """Where a probe stands among the others: by its hash, and by its words among those of one hash."""
    said = [turn.content for turn in reversed(probe.prompt)]
    return prompt_hash(said[0]), said, probe.reference


def _one_a_prompt(probes: list[Probe]) -> list[Probe]:
    first: dict[float, Probe] = {}
    for probe in probes:
        first.setdefault(prompt_hash(probe.prompt[-1].content), probe)
    return list(first.values())
