"""Whom a newcomer's block is made from: the nearest residents by role embedding, or those the user names.
Knows the registry and the command line's words; nothing of merging.

Whatever can be refused without an encoder is refused before one is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipes.weights import normalised, softmax
from registry.errors import Fault, NeekoError, ProfileError, UsageError
from registry.neighbours import nearest
from registry.profile import Profile
from registry.store import Registry
from registry.tables import Bank, Character

if TYPE_CHECKING:
    import numpy as np

    from recipes.task import Neighbour

NEIGHBOURS = 3  # unless the user says how many, or fewer live here
DISTANT = 0.3  # of the nearest's similarity: two personas that have nothing in common come to 0.1 or 0.2
LETTERS = 15  # of a persona, below which its embedding says nothing of whom it resembles


@dataclass(frozen=True)
class Kin:
    """A resident to make a block from; the weights of all sum to 1. `similarity` is None for one chosen by hand."""

    character: Character
    weight: float
    similarity: float | None = None

    def document(self) -> dict[str, Any]:
        similarity = None if self.similarity is None else round(self.similarity, 4)
        return {"character": self.character.name, "weight": self.weight, "similarity": similarity,
                "strategy": self.character.strategy}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """How many neighbours, or which ones by hand, as written on the command line: NAME or NAME=weight."""

    count: int | None = None
    by_hand: tuple[str, ...] = ()


def others(registry: Registry, bank: Bank, but: Character | None) -> int:
    """How many live in the bank, whoever is replaced left out."""
    rows = registry.residents(bank=bank, brief=True) if bank.id else []
    return sum(but is None or row.id != but.id for row in rows)


def refuse(registry: Registry, bank: Bank, profile: Profile, where: str, choice: Choice,
           but: Character | None = None) -> None:  # fmt: skip
    """Everything that can be wrong with a choice before anything is embedded; `where` is the profile's file.

    Raises:
        NeekoError: nobody lives in the bank, or the persona is too short to be compared.
        UsageError: fewer residents than asked for, an unknown name, one of another bank, or a weight that is none.
    """
    residents = others(registry, bank, but)
    if choice.by_hand:
        if choice.count is not None:
            raise UsageError("--from names the neighbours and --neighbours counts them: give one of the two.")
        by_hand(registry, bank, choice.by_hand)
        return
    if not residents:
        raise nobody(profile.name)
    if choice.count is not None and choice.count > residents:
        raise UsageError(f"--neighbours {choice.count} asks for more than the {residents} who live on {bank.base}.")
    if not is_comparable(profile):
        message = "too short to find whom it resembles: write a sentence or two, or choose with --from NAME"
        raise ProfileError([Fault(where, "persona", message)])


def is_comparable(profile: Profile) -> bool:
    """Whether the persona says enough for its embedding to mean something."""
    return sum(letter.isalnum() for letter in profile.persona) >= LETTERS


def nobody(newcomer: str) -> NeekoError:
    return NeekoError(
        f"Nobody lives on this base yet, so there is nobody to fuse {newcomer} from: use --strategy expand."
    )


def relatives(registry: Registry, bank: Bank, encoder: str, role: np.ndarray, choice: Choice, temperature: float,
              but: Character | None = None) -> list[Kin]:  # fmt: skip
    """Those chosen by hand, else the nearest (whoever is replaced is not), weighted by the softmax of similarities.

    Raises:
        NeekoError: nobody else lives here.
    """
    if choice.by_hand:
        return by_hand(registry, bank, choice.by_hand)
    count = choice.count or NEIGHBOURS
    near = nearest(registry, bank, encoder, role, count + bool(but))
    near = [each for each in near if but is None or each.name != but.name][:count]
    if not near:
        raise nobody(but.name if but else "anybody")
    weights = softmax([each.similarity for each in near], temperature)
    return [
        Kin(registry.resident(each.name), weight, each.similarity) for each, weight in zip(near, weights, strict=True)
    ]


def distance(kin: Sequence[Kin]) -> str | None:
    """What to say when nobody is near."""
    nearest_of_all = max((each.similarity for each in kin if each.similarity is not None), default=1.0)
    if nearest_of_all >= DISTANT:
        return None
    return (
        f"nobody here resembles the newcomer (similarity {nearest_of_all:.2f} at best): a merge will bring the common "
        f"way of answering, and little of the character"
    )


def by_hand(registry: Registry, bank: Bank, words: Sequence[str]) -> list[Kin]:
    """NAME=weight, or NAME for a weight of 1, each resident once."""
    pairs = [_parsed(registry, word) for word in words]
    found = [_resident(registry, bank, name) for name, _ in pairs]
    twice = [row.name for place, row in enumerate(found) if row.id in {other.id for other in found[:place]}]
    if twice:
        raise UsageError(f"--from names {twice[0]} twice: give each neighbour once, with its whole weight.")
    weights = normalised([weight for _, weight in pairs])
    return [Kin(row, weight) for row, weight in zip(found, weights, strict=True)]


def _parsed(registry: Registry, word: str) -> tuple[str, float]:
    name, equals, number = word.rpartition("=")
    if not equals or registry.answers_to(word):  # there may be an = in a name
        return word.strip(), 1.0
    try:
        return name.strip(), float(number)
    except ValueError:
        raise UsageError(f"--from takes NAME=weight, and {number!r} is no number.") from None


def _resident(registry: Registry, bank: Bank, name: str) -> Character:
    """The ready character of this bank. A block fits only the base it was made on."""
    row = registry.resident(name)
    if row.bank_id != bank.id:
        raise UsageError(
            f"{row.name} lives on another base, where its block cannot be used: choose a resident of {bank.base}."
        )
    return row


def neighbours(registry: Registry, kin: Sequence[Kin]) -> list[Neighbour]:
    """Their blocks, read and verified.

    Raises:
        BlockDamaged: names whose.
    """
    from recipes.block import load_block
    from recipes.task import Neighbour

    found = []
    for each in kin:
        row, digest = each.character, each.character.block or ""
        found.append(Neighbour(row.name, digest, load_block(registry.blocks.verified(digest, row.name)), each.weight))
    return found
