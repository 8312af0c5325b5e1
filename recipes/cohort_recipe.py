"""The settings of a cohort's training: a recipe, what the network is like, and the contrastive loss. Imports no torch,
so that a wrong setting is refused before anything is loaded."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from recipes.recipe import Recipe, load_settings

Width = Annotated[int, Field(ge=1, le=8192)]
Pace = Annotated[float, Field(ge=0, le=100)]
LEFT_OUT = 0.2  # of the ids, where personas are read: otherwise no input is ever without one, as a newcomer's is


class CohortRecipe(Recipe):
    """How characters are trained together; the letters are the paper's."""

    generated: Literal["a", "b", "both", "none"]  # the half that is written for each; none: one block for all
    character_width: Width = 128  # d_c
    layer_width: Width = 128  # d_l
    hidden_width: Width = 512  # d_h
    residual_blocks: Annotated[int, Field(ge=0, le=16)] = 2  # N
    bottleneck: Width = 28  # k
    persona: bool = False  # the network reads the persona's embedding beside the id
    id_dropout: Annotated[float | None, Field(ge=0, lt=1)] = None  # of ids left out of a step; None: as many as suit
    pace_shared: Pace = 1.0  # times the learning rate: of the shared half,
    pace_ids: Pace = 1.0  # of e_c,
    pace_network: Pace = 1.0  # of the network,
    pace_bias: Pace = 1.0  # and of b_u, which is one for all characters: Adam moves it as far as what tells them apart;
    pace_newcomer: Pace = 10.0  # of a newcomer's e_c, which learns alone
    per_role: Annotated[int, Field(ge=1, le=1024)] = 2  # conversations of a role side by side in a batch
    contrast: Annotated[float, Field(ge=0, validate_default=True)] = 0.3  # lambda at the end
    contrast_start: Annotated[float, Field(ge=0)] = 1.0  # the epoch from which it rises
    contrast_width: Width = 128  # m
    temperature: Annotated[float, Field(gt=0)] = 0.1  # tau
    own_epochs: Annotated[int, Field(ge=0, le=1000)] = 0  # that every member also learns alone, from nothing,
    own_share: Annotated[float, Field(gt=0, lt=1)] = 0.5  # and the weight of that; what the network wrote has the rest

    @field_validator("persona")
    @classmethod
    def _reads_to_write(cls, persona: bool, info: ValidationInfo) -> bool:
        if persona and info.data.get("generated") == "none":
            raise PydanticCustomError("idle", "One block for all reads no personas: add --set persona=false")
        return persona

    @field_validator("id_dropout")
    @classmethod
    def _leaves_something(cls, dropped: float | None, info: ValidationInfo) -> float | None:
        if dropped and not info.data.get("persona"):
            told = "Without a persona nothing is left of who speaks: add --set id_dropout=0, or --set persona=true"
            raise PydanticCustomError("idle", told)
        return dropped

    @field_validator("contrast")
    @classmethod
    def _tells_apart(cls, contrast: float, info: ValidationInfo) -> float:
        if contrast and info.data.get("generated") != "none" and info.data.get("batch") == 1:
            raise PydanticCustomError("idle", "A batch of one has nobody to be told from: add --set contrast=0")
        return contrast

    @property
    def ids_left_out(self) -> float:
        """The share of a step's ids that the persona must do without."""
        if self.id_dropout is None:
            return LEFT_OUT if self.persona else 0.0
        return self.id_dropout

    @property
    def contrasts(self) -> bool:
        return self.contrast > 0 and self.writes_something

    @property
    def writes_something(self) -> bool:
        """For somebody in particular; otherwise one block is everybody's."""
        return self.generated != "none"

    @property
    def alone(self) -> Recipe:
        """How a member learns alone."""
        return self.model_copy(update={"epochs": self.own_epochs})

    def writes(self, half: Literal["a", "b"]) -> bool:
        return self.generated in (half, "both")


def load_cohort_recipe(kind: str, changes: Sequence[str], rank: int | None = None) -> CohortRecipe:
    """The preset of a kind of cohort with `key=value` changes on top.

    Raises:
        UsageError: unknown kind or key, or a value out of bounds.
    """
    return load_settings(CohortRecipe, "presets/cohorts", kind, changes, rank)
