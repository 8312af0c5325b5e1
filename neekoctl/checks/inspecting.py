"""Measures residents for a check: their files and records, what they say on their probes, and what tells them from
their nearest. Knows no verdict, no gate and no screen.

A reply that was recorded need not be written again to be confirmed: one pass over it shows whether every token is still
the likeliest. The shape of a batch changes the last bits of a sum, so whoever seems to answer otherwise is asked again
in the very batch of the day of onboarding, and only that answer counts. Likelihoods are taken in that day's batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neekoctl.checks.findings import Checked, Flip
from neekoctl.measuring import DECIDING, answered, confirmed, environment, heldout_messages, recorded, scored
from neekoctl.stage import Stage
from recipes.scores import Score
from registry.errors import NeekoError
from registry.names import fold
from registry.neighbours import nearest
from registry.readings import first_distinctness
from registry.seals import broken
from registry.store import Registry
from registry.tables import Character, Probe
from registry.vectors import from_bytes

if TYPE_CHECKING:
    from recipes.exchanges import Messages

RIVALS = 1  # the nearest residents, whom a character is told from; each costs another reading of every probe

Report = Callable[[Character], None]
Here = dict[str | None, Character]  # residents by block


def look_at(registry: Registry, row: Character, handles: Mapping[int, list[str]]) -> Checked:
    """A character's files and records, against its seal; and whether it still answers to its names."""
    faults = broken(row, registry.probes(row), registry.blocks)
    held = {fold(each) for each in handles.get(row.id, [])}
    if lost := [name for name in [row.name, *row.description.get("aliases", [])] if fold(name) not in held]:
        faults["names"] = f"it no longer answers to {', '.join(lost)}"
    return Checked(row, faults)


def measure_residents(stage: Stage, found: Sequence[Checked], report: Report) -> None:
    """Fill in what the model says."""
    here = {row.block: row for row in stage.registry.residents(bank=stage.row)}
    first = first_distinctness(stage.registry, [each.row for each in found], here)
    for each in found:
        report(each.row)
        probes = stage.registry.probes(each.row)
        messages = [heldout_messages(each.row.system_message, probe.prompt, probe.reference) for probe in probes]
        try:
            _measure(stage, Asked(each, probes, messages), here, first.get(each.row.id, {}))
        except NeekoError as error:  # its fault alone: the others are looked at all the same
            each.faults["run"] = f"its block cannot be run: {error}"
        for at in stage.bank.mounted:
            stage.bank.evict(at)


@dataclass(frozen=True)
class Asked:
    """A character and what it is asked."""

    found: Checked
    probes: list[Probe]
    messages: list[Messages]


def _measure(stage: Stage, asked: Asked, here: Here, first: dict[str, list[float]]) -> None:
    _score(stage, asked)
    if asked.found.comparable:
        _answer(stage, asked)
        _tell_apart(stage, asked, here, first)


def _score(stage: Stage, asked: Asked) -> None:
    """In the batches of the day of onboarding, so that the same bytes give the same bits."""
    found = asked.found
    found.now = scored(stage, stage.mounted(found.row, anew=True), asked.messages)
    found.then = recorded(asked.probes)
    then, now = found.row.environment, environment(stage, asked.messages)
    found.elsewhere = [f"{key} {then.get(key)} then, {now[key]} now" for key in DECIDING if then.get(key) != now[key]]
    if then.get("tokens", now["tokens"]) != now["tokens"]:
        found.faults["tokens"] = "its probes are other tokens now: the base's tokenizer or chat template is another"


def _answer(stage: Stage, asked: Asked) -> None:
    """Greedy replies: confirmed, or written again where one seems to differ."""
    mix = stage.mounted(asked.found.row)
    if all(confirmed(stage, mix, asked.messages, [probe.reply for probe in asked.probes])):
        return
    answers = answered(stage, mix, asked.messages)
    asked.found.flips = [Flip(probe.prompt[-1]["content"], probe.reply_text, text)
                         for probe, (reply, text) in zip(asked.probes, answers, strict=True)
                         if reply != probe.reply]  # fmt: skip


def _tell_apart(stage: Stage, asked: Asked, here: Here, first: dict[str, list[float]]) -> None:
    """How much less likely the replies are under the nearest resident's block, then and now (the distinctness of
    docs/studies/boundary.md). The rivals of the first reading stay the rivals while they live here."""
    found = asked.found
    size, own = len(asked.probes), found.row.block or ""
    kept = {block: nats for block, nats in first.items() if block in here and block != own and len(nats) == size}
    rivals = [here[block] for block in kept] or _nearest(stage, found.row, list(here.values()))
    for rival in rivals if asked.messages else []:
        if stage.registry.blocks.is_whole(rival.block or ""):
            said = scored(stage, stage.mounted(rival), asked.messages)
            if all(math.isfinite(each.total) for each in said):
                found.rivals[rival.block or ""] = [each.total for each in said]
    if common := [block for block in found.rivals if block in kept]:
        then = [Score(nats, each.tokens) for nats, each in zip(first.get(own, []), found.then, strict=False)]
        found.distinct = _margins(kept, common, then or found.then), _margins(found.rivals, common, found.now)


def _nearest(stage: Stage, row: Character, residents: Sequence[Character]) -> list[Character]:
    if row.role_embedding is None or row.encoder is None:
        return []
    near = nearest(stage.registry, stage.row, row.encoder, from_bytes(row.role_embedding), RIVALS + 1)
    wanted = [each.name for each in near if each.name != row.name][:RIVALS]
    return [each for each in residents if each.name in wanted and each.block != row.block]


def _margins(rivals: dict[str, list[float]], blocks: Sequence[str], own: Sequence[Score]) -> list[Score]:
    """By probe: the rivals' mean nats less the own."""
    return [Score(sum(rivals[block][place] for block in blocks) / len(blocks) - each.total, each.tokens)
            for place, each in enumerate(own)]  # fmt: skip
