"""The certificate of an onboarding: everybody else's bytes and logits, before and after. Knows no screen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neekoctl.measuring import Seen, heldout_messages, recorded, seen
from recipes.scores import Score, mean_nll
from registry.store import Registry
from registry.tables import Character, Probe, Reading

if TYPE_CHECKING:
    from neekoctl.stage import Stage


@dataclass(frozen=True)
class Depth:
    """Of how many residents the logits are taken, and on how many of their probes; every block is read regardless."""

    residents: int
    probes: int


THOROUGH = Depth(64, 32)  # beside minutes of training
QUICK = Depth(8, 1)  # beside a fusion, which takes a second, or under a budget: a newcomer's parents come first


@dataclass(frozen=True)
class Witness:
    """What was seen of one resident; a damaged block has no logits."""

    name: str
    block: str
    whole: bool
    seen: Seen | None


@dataclass(frozen=True)
class Finding:
    """A certificate's content."""

    others: int
    identical: int
    evidence: dict[str, Any]


def bear_witness(stage: Stage, residents: list[Character], renew: Callable[[], None], depth: Depth) -> list[Witness]:
    """Read every resident's block, and take the logits of the first of them on their own probes.

    `renew` is called for each, so that a lease does not run out over many residents.
    """
    witnesses = []
    for place, each in enumerate(residents):
        witnesses.append(_see(stage, each, depth.probes if place < depth.residents else 0))
        renew()
    return witnesses


def _see(stage: Stage, resident: Character, most: int) -> Witness:
    block = resident.block or ""
    whole = stage.registry.blocks.is_whole(block)
    if not whole or not most:
        return Witness(resident.name, block, whole, None)
    probes = [heldout_messages(resident.system_message, probe.prompt, probe.reference)
              for probe in stage.registry.probes(resident)[:most]]  # fmt: skip
    said = seen(stage, stage.mounted(resident, anew=True), probes) if probes else None
    return Witness(resident.name, block, whole, said)


def compare(before: list[Witness], after: list[Witness]) -> Finding:
    """Who is, bit for bit, as before; a block that was damaged already is not called identical."""
    same = [first.name for first, last in zip(before, after, strict=True) if first == last and first.whole]
    changed = [first.name for first in before if first.name not in same]
    probed = [first.name for first in before if first.seen]
    return Finding(len(before), len(same), {"changed": changed, "probed": len(probed)})


def read(registry: Registry, residents: Sequence[Character], witnesses: Sequence[Witness]) -> list[Reading]:
    """What was seen of the residents, as readings beside their baselines over the same probes."""
    found = []
    for row, witness in zip(residents, witnesses, strict=True):
        if witness.seen and all(math.isfinite(each.total) for each in witness.seen.scores):
            probes = registry.probes(row)[: len(witness.seen.scores)]
            found.append(_reading(row.id, probes, witness.seen.scores))
    return found


def first_reading(probes: Sequence[Probe]) -> list[Reading]:
    """The newcomer's own, on its first day; none without probes. Its row does not exist yet."""
    return [_reading(0, probes, recorded(probes))] if probes else []


def _reading(owner: int, probes: Sequence[Probe], scores: Sequence[Score]) -> Reading:
    return Reading(character_id=owner, revision=0, probes=len(probes), nll=mean_nll(scores),
                   baseline=mean_nll(recorded(probes)), distinctness={})  # fmt: skip
