"""Whom a block is to be made for, and from what. Knows a profile, its split and a recipe; nothing of how the block
comes about, and no transaction. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neekoctl.measuring import heldout_messages
from recipes.exchanges import Messages, with_system
from recipes.recipe import Recipe
from registry.heldout import Split
from registry.profile import Profile
from registry.tables import Bank, Character

if TYPE_CHECKING:
    from recipes.task import Made


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Somebody about to move in, every part found good."""

    profile: Profile
    recipe: Recipe  # of whatever does not start from a cohort's block
    split: Split
    bank: Bank
    seed: int
    replaced: Character | None = None  # whoever moves out at the same moment

    @property
    def system_message(self) -> str:
        return self.recipe.system_message.replace("{name}", self.profile.name)

    def to_learn(self) -> list[Messages]:
        """The conversations to train on, under the character's system message."""
        return [with_system(self.system_message, talk.model_dump()["messages"]) for talk in self.split.train]

    def heldout(self, system_message: str | None = None) -> list[Messages]:
        """The probes under the character's system message, or another one."""
        told = self.system_message if system_message is None else system_message
        return [heldout_messages(told, [turn.model_dump() for turn in probe.prompt], probe.reference)
                for probe in self.split.probes]  # fmt: skip

    def kept(self, made: Made) -> dict[str, Any]:
        """All that decided how the block was made, as it is kept: what was done, whatever was asked for."""
        return self._trained_by(self.recipe, made)

    @staticmethod
    def _trained_by(recipe: Recipe, made: Made) -> dict[str, Any]:
        cohort = {"cohort": made.details["cohort"]} if "cohort" in made.details else {}
        return {**recipe.model_dump(), "rank": made.block.rank, "alpha": made.block.alpha, **cohort}
