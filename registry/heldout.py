"""Which prompts are kept aside as probes: chosen by a hash of the prompt alone, so that the order of the file, or
how often it is read, changes nothing. Knows nothing of models or the database.

A prompt that many conversations share, such as a greeting, is never one. A conversation in which any user turn is a
probe prompt is left out of training whole, so a probe's prompt never reaches training, wherever it turns up again.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.errors import NeekoError
from registry.names import fold
from registry.profile import Conversation, Message

SHARE = 1 / 8  # of the distinct prompts
MOST = 32  # more probes than this cost time at every check and prove little more
LOST = 1 / 4  # of all exchanges, that the probes may cost the training: conversations go whole


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


def refuse_nothing_to_learn(name: str, train: Sequence[object], instead: str = "or add some") -> None:
    """Raises NeekoError when no conversation of a character is left to train on."""
    if not train:
        told = f"{name} has too few dialogues: nothing is left to train on once probes are kept aside"
        raise NeekoError(f"{told}; split long conversations, {instead}.")


def prompt_hash(prompt: str) -> float:
    """A prompt's place in [0, 1): equal for prompts that differ only in case, accents or spacing."""
    return int.from_bytes(hashlib.sha256(fold(prompt).encode()).digest()[:8]) / 2**64


def split(conversations: list[Conversation]) -> Split:
    """Keep aside the prompts that hash below `SHARE`: at least one when there are two, at most `MOST`, and no more
    than `LOST` allows, unless the first one costs as much."""
    aside = _aside(conversations)
    train, probes = list[Conversation](), dict[float, Probe]()
    for talk in conversations:
        hashes = [prompt_hash(turn.content) for turn in talk.messages[::2]]
        if aside.isdisjoint(hashes):
            train.append(talk)
        for turn, place in enumerate(hashes):
            if place in aside:  # one a prompt is held at a time: a long talk repeats it, with all that went before
                probe = Probe(tuple(talk.messages[: 2 * turn + 1]), talk.messages[2 * turn + 1].content)
                probes[place] = min(probes.get(place, probe), probe, key=_words)
    return Split(train, [probes[place] for place in sorted(probes)])


def _aside(conversations: list[Conversation]) -> set[float]:
    """The hashes of the prompts to keep: the lowest first, those too dear passed over."""
    holders = defaultdict[float, set[int]](set)
    for number, talk in enumerate(conversations):
        for turn in talk.messages[::2]:
            holders[prompt_hash(turn.content)].add(number)
    exchanges = [len(talk.messages) // 2 for talk in conversations]
    hashes = _rare(holders, len(conversations))
    most = min(max(sum(place < SHARE for place in hashes), 1), MOST, len(holders) - 1)
    aside, gone, left = set[float](), set[int](), LOST * sum(exchanges)
    for place in hashes:
        if len(aside) == most or (aside and place >= SHARE):
            break
        costs = sum(exchanges[number] for number in holders[place] - gone)
        if costs <= left:
            aside.add(place)
            gone |= holders[place]
            left -= costs
    return aside or set(hashes[: min(most, 1)])


def _rare(holders: Mapping[float, set[int]], conversations: int) -> list[float]:
    """The hashes of the prompts that few conversations share; where all are shared, of one that leaves some over."""
    few = max(1, int(SHARE * conversations))  # conversations that one probe may cost the training
    if rare := sorted(place for place, talks in holders.items() if len(talks) <= few):
        return rare
    dear = sorted((len(talks), place) for place, talks in holders.items() if len(talks) < conversations)
    return [place for _, place in dear[:1]]


def _words(probe: Probe) -> tuple[list[str], str]:
    """What decides among those of one prompt."""
    return [turn.content for turn in reversed(probe.prompt)], probe.reference
