"""Measures residents for a check: their files and records, what they say on their probes, where the gate takes these,
and what tells them from their nearest. Knows no verdict and no screen.

Replies of several characters are written in one mixed batch, since a step of decoding costs little more for many rows.
The shape of a batch changes the last bits of a sum, so whoever answers otherwise there is asked again in the very
batch of the day of onboarding: only that answer counts. Likelihoods are taken in that day's batches at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neekoctl.checks.verdicts import Checked, Flip
from neekoctl.measuring import REPLIES_AT_ONCE, answered, environment, heldout_messages, scored
from neekoctl.stage import Stage
from registry.neighbours import nearest
from registry.seals import broken
from registry.store import Registry
from registry.tables import Character, Probe

if TYPE_CHECKING:
    from recipes.exchanges import Messages
    from recipes.likelihood import Score

RIVALS = 2  # the nearest residents, whom a character is told from

Report = Callable[[Character], None]


def look_at(registry: Registry, row: Character) -> Checked:
    """A character's files and records, against its seal."""
    return Checked(row, broken(row, registry.probes(row), registry.blocks))


def measure_residents(stage: Stage, found: Sequence[Checked], first: dict[int, dict[str, list[float]]],
                      report: Report) -> None:  # fmt: skip
    """Fill in what the model says; `first` are the earliest readings against rivals, by character."""
    for group in _groups(stage.registry, found):
        asked = {each.row.id or 0: _messages(each.row, probes) for each, probes in group}
        for each, probes in group:
            report(each.row)
            _score(stage, each, probes, asked[each.row.id or 0])
            _tell_apart(stage, each, probes, asked[each.row.id or 0], first.get(each.row.id or 0, {}))
        _answer(stage, group, asked)
        for at in stage.bank.mounted:
            stage.bank.evict(at)


Asked = tuple[Checked, list[Probe]]


def _groups(registry: Registry, found: Sequence[Checked]) -> Iterator[list[Asked]]:
    """As many characters at a time as fill a batch of replies, so that few blocks are resident at once."""
    group: list[Asked] = []
    for each in found:
        probes = registry.probes(each.row)
        if group and sum(len(kept) for _, kept in group) + len(probes) > REPLIES_AT_ONCE:
            yield group
            group = []
        group.append((each, probes))
    if group:
        yield group


def _messages(row: Character, probes: Sequence[Probe]) -> list[Messages]:
    return [heldout_messages(row.system_message, probe.prompt, probe.reference) for probe in probes]


def _score(stage: Stage, found: Checked, probes: Sequence[Probe], asked: list[Messages]) -> None:
    from recipes.likelihood import Score

    found.now = scored(stage, stage.mounted(found.row, anew=True), asked)
    found.then = [Score(probe.nll * probe.tokens, probe.tokens) for probe in probes]
    found.elsewhere = _differences(found.row.environment, environment(stage))


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of hardware and versions is not as on the day of onboarding."""
    return [f"{key} {then.get(key)} then, {value} now" for key, value in now.items() if then.get(key) != value]


def _answer(stage: Stage, group: Sequence[Asked], asked: dict[int, list[Messages]]) -> None:
    """Greedy replies: all in mixed batches, and once more alone where one differs."""
    rows = [(each, probe, messages) for each, probes in group
            for probe, messages in zip(probes, asked[each.row.id or 0], strict=True)]  # fmt: skip
    mixes = [stage.mounted(each.row) for each, _, _ in rows]
    answers = answered(stage, mixes, [messages for _, _, messages in rows])
    doubted = {each.row.id for (each, probe, _), (reply, _) in zip(rows, answers, strict=True) if reply != probe.reply}
    for each, probes in group:
        if each.row.id in doubted:
            alone = [stage.mounted(each.row)] * len(probes)
            each.flips = _flips(probes, answered(stage, alone, asked[each.row.id or 0]))


def _flips(probes: Sequence[Probe], answers: Sequence[tuple[list[int], str]]) -> list[Flip]:
    return [Flip(probe.prompt[-1]["content"], probe.reply_text, text)
            for probe, (reply, text) in zip(probes, answers, strict=True) if reply != probe.reply]  # fmt: skip


def _tell_apart(stage: Stage, found: Checked, probes: Sequence[Probe], asked: list[Messages],
                first: dict[str, list[float]]) -> None:  # fmt: skip
    """How much less likely the replies are under the nearest residents' blocks, then and now (the distinctness of
    docs/studies/boundary.md). The rivals of the first reading stay the rivals while they live here."""
    here = {row.block: row for row in stage.registry.characters(status=("ready",), bank=stage.row)}
    kept = {block: nats for block, nats in first.items() if block in here and len(nats) == len(asked)}
    rivals = [here[block] for block in kept] or _nearest(stage, found.row, list(here.values()))
    for rival in rivals if asked else []:
        if stage.registry.blocks.is_whole(rival.block or ""):
            found.rivals[rival.block or ""] = [each.total for each in scored(stage, stage.mounted(rival), asked)]
    common = [block for block in found.rivals if block in kept]
    if common:
        found.distinct = (_margins(kept, common, found.then), _margins(found.rivals, common, found.now))


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
