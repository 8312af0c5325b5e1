"""Measures residents for a check: their files and records, what they say on their probes, where the gate takes these,
and what tells them from their nearest. Knows no verdict and no screen.

Replies of several characters are written in one mixed batch, since a step of decoding costs little more for many rows.
The shape of a batch changes the last bits of a sum, so whoever answers otherwise there is asked again in the very
batch of the day of onboarding: only that answer counts. Likelihoods are taken in that day's batches at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neekoctl.checks.verdicts import Checked, Flip
from neekoctl.measuring import (
    answered,
    environment,
    heldout_messages,
    scored,
    scored_by_length,
)
from neekoctl.stage import Stage
from registry.neighbours import nearest
from registry.seals import broken
from registry.store import Registry
from registry.tables import Character, Probe

if TYPE_CHECKING:
    from recipes.exchanges import Messages
    from recipes.likelihood import Score

MIXED = 64  # replies of a batch; half as many more characters are resident meanwhile than have their turn
RIVALS = 2  # the nearest residents, whom a character is told from

Report = Callable[[Character], None]
Here = dict[str | None, Character]  # residents by block


def look_at(registry: Registry, row: Character) -> Checked:
    """A character's files and records, against its seal."""
    return Checked(row, broken(row, registry.probes(row), registry.blocks))


def measure_residents(stage: Stage, found: Sequence[Checked], first: dict[int, dict[str, list[float]]],
                      report: Report) -> None:  # fmt: skip
    """Fill in what the model says; `first` are the earliest readings against rivals, by character."""
    for group in _groups(stage.registry, found):
        for each in group:
            report(each.found.row)
            _score(stage, each)
        _answer(stage, group)
        _tell_apart(stage, group, first)
        for at in stage.bank.mounted:
            stage.bank.evict(at)


@dataclass(frozen=True)
class Asked:
    """A character and what it is asked."""

    found: Checked
    probes: list[Probe]
    messages: list[Messages]


def _groups(registry: Registry, found: Sequence[Checked]) -> Iterator[list[Asked]]:
    """As many characters at a time as fill a batch of replies, so that few blocks are resident at once."""
    group: list[Asked] = []
    for each in found:
        probes = registry.probes(each.row)
        messages = [heldout_messages(each.row.system_message, probe.prompt, probe.reference) for probe in probes]
        if group and sum(len(other.probes) for other in group) + len(probes) > MIXED:
            yield group
            group = []
        group.append(Asked(each, probes, messages))
    if group:
        yield group


def _score(stage: Stage, asked: Asked) -> None:
    """In the batches of the day of onboarding, so that the same bytes give the same bits."""
    from recipes.likelihood import Score

    found, mix = asked.found, stage.mounted(asked.found.row, anew=True)
    found.now = scored(stage, [mix] * len(asked.messages), asked.messages)
    found.then = [Score(probe.nll * probe.tokens, probe.tokens) for probe in asked.probes]
    found.elsewhere = _differences(found.row.environment, environment(stage))


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of hardware and versions is not as on the day of onboarding."""
    return [f"{key} {then.get(key)} then, {value} now" for key, value in now.items() if then.get(key) != value]


def _answer(stage: Stage, group: Sequence[Asked]) -> None:
    """Greedy replies: all in mixed batches, and once more alone where one differs."""
    mixes = [stage.mounted(each.found.row) for each in group for _ in each.probes]
    answers = iter(answered(stage, mixes, [messages for each in group for messages in each.messages],
                            at_once=MIXED))  # fmt: skip
    for each, mixed in [(each, [next(answers) for _ in each.probes]) for each in group]:
        if _flips(each.probes, mixed):
            alone = [stage.mounted(each.found.row)] * len(each.probes)
            each.found.flips = _flips(each.probes, answered(stage, alone, each.messages))


def _flips(probes: Sequence[Probe], answers: Sequence[tuple[list[int], str]]) -> list[Flip]:
    return [Flip(probe.prompt[-1]["content"], probe.reply_text, text)
            for probe, (reply, text) in zip(probes, answers, strict=True) if reply != probe.reply]  # fmt: skip


def _tell_apart(stage: Stage, group: Sequence[Asked], first: dict[int, dict[str, list[float]]]) -> None:
    """How much less likely the replies are under the nearest residents' blocks, then and now (the distinctness of
    docs/studies/boundary.md). The rivals of the first reading stay the rivals while they live here."""
    here = {row.block: row for row in stage.registry.characters(status=("ready",), bank=stage.row)}
    pairs = [(each, rival) for each in group for rival in _rivals(stage, each, here, first) if each.messages]
    mixes = [stage.mounted(rival) for each, rival in pairs for _ in each.messages]
    messages = [one for each, _ in pairs for one in each.messages]
    scores = iter(scored_by_length(stage, mixes, messages))
    for each, rival in pairs:
        each.found.rivals[rival.block or ""] = [next(scores).total for _ in each.messages]
    for each in group:
        kept = _kept(each, here, first)
        if common := [block for block in each.found.rivals if block in kept]:
            margins = ((kept, each.found.then), (each.found.rivals, each.found.now))
            then, now = (_margins(nats, common, own) for nats, own in margins)
            each.found.distinct = then, now


def _kept(asked: Asked, here: Here, first: dict[int, dict[str, list[float]]]) -> dict[str, list[float]]:
    """Of the first reading, the rivals that live here still."""
    kept = first.get(asked.found.row.id or 0, {})
    return {block: nats for block, nats in kept.items() if block in here and len(nats) == len(asked.probes)}


def _rivals(stage: Stage, asked: Asked, here: Here, first: dict[int, dict[str, list[float]]]) -> list[Character]:
    rivals = [here[block] for block in _kept(asked, here, first)]
    rivals = rivals or _nearest(stage, asked.found.row, list(here.values()))
    return [rival for rival in rivals if stage.registry.blocks.is_whole(rival.block or "")]


def _nearest(stage: Stage, row: Character, residents: Sequence[Character]) -> list[Character]:
    if row.role_embedding is None or row.encoder is None:
        return []
    vector = np.frombuffer(row.role_embedding, dtype="<f4")
    near = nearest(stage.registry, stage.row, row.encoder, vector, RIVALS + 1)
    wanted = [each.name for each in near if each.name != row.name][:RIVALS]
    return [each for each in residents if each.name in wanted and each.block != row.block]


def _margins(rivals: dict[str, list[float]], blocks: Sequence[str], own: Sequence[Score]) -> list[Score]:
    """By probe: the rivals' mean nats less the own."""
    from recipes.likelihood import Score

    return [Score(sum(rivals[block][place] for block in blocks) / len(blocks) - each.total, each.tokens)
            for place, each in enumerate(own)]  # fmt: skip
