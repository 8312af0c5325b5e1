"""The settings of a training run: presets in YAML, changed one by one with key=value. Imports no torch, so that a
wrong setting is refused before anything is loaded."""

from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.errors import UsageError
from registry.ranks import LARGEST_RANK

DEFAULT_PRESET = "standard"
AFTER_COHORT = "gentle"  # where a training starts from a cohort's block
PRESETS = "presets"
SIGN_ELECTING = ("ties", "dare_ties")
FACTOR_WISE = ("elementwise", *SIGN_ELECTING)  # A and B are merged each by itself


class Recipe(BaseModel):
    """How one block is trained. Steps are optimizer steps; one step sees `batch` conversations."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rank: Annotated[int, Field(ge=1, le=LARGEST_RANK)]
    alpha: Annotated[float, Field(gt=0)]  # delta_W = (alpha / rank) B A
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    epochs: Annotated[int, Field(ge=1, le=1000)]
    batch: Annotated[int, Field(ge=1, le=1024)]
    warmup_steps: Annotated[int, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)]  # largest norm of the gradient
    weight_decay: Annotated[float, Field(ge=0)]
    evaluations: Annotated[int, Field(ge=1)]  # of the held-out likelihood, per epoch
    patience: Annotated[int, Field(ge=1)]  # evaluations without improvement before stopping
    fewest_probes: Annotated[int, Field(ge=1)] = 1  # that may stop a run and choose its state; fewer would by chance
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay a step of the mean that is kept; 0: the last state
    system_message: str  # {name} stands for the character's


Settings = TypeVar("Settings", bound=BaseModel)


class Merging(BaseModel):
    """How several blocks become one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal["svd", "elementwise", "cat", "ties", "dare_ties"] = "svd"
    energy: Annotated[float, Field(gt=0, le=1)] | None = None  # the share to keep, which then decides the rank
    density: Annotated[float, Field(gt=0, lt=1)] = 0.5  # of the entries that ties and dare_ties keep
    temperature: Annotated[float, Field(gt=0)] = 0.1  # of the softmax over similarities: lower follows the nearest

    def rank(self, ranks: Sequence[int]) -> int:
        """How wide the block of parents of these ranks can be before any of it is computed: as the widest, or as all
        of them together where nothing is discarded or `energy` decides."""
        together = min(sum(ranks), LARGEST_RANK) if self.energy is not None else sum(ranks)
        return together if self.method == "cat" or self.energy is not None else max(ranks)

    def refuse(self, ranks: Sequence[int], alphas: Sequence[float], weights: Sequence[float], rank: int) -> None:
        """Raises UsageError when the method cannot make a block of `rank` from such parents."""
        if self.method in FACTOR_WISE and len(set(ranks)) > 1:
            raise UsageError(
                f"--merge {self.method} needs blocks of one rank, and these have {', '.join(map(str, ranks))}: choose "
                f"others with --from, or use --merge svd."
            )
        if self.method in FACTOR_WISE and len(set(alphas)) > 1:
            raise UsageError(
                f"--merge {self.method} needs blocks of one alpha, and these have several: use --merge svd."
            )
        if self.method in SIGN_ELECTING and min(weights) < 0:
            raise UsageError(
                f"--merge {self.method} elects signs before weights are applied: use --merge svd for a negative weight."
            )
        if self.method != "svd" and rank != self.rank(ranks):
            raise UsageError(
                f"--merge {self.method} makes a block of rank {self.rank(ranks)} of these: leave --rank out, or use "
                f"--merge svd."
            )
        if rank > LARGEST_RANK:
            raise UsageError(
                f"These blocks together have {rank} ranks and one may have {LARGEST_RANK}: use --merge svd, or fewer."
            )


def presets(folder: str = PRESETS) -> list[str]:
    """The names of the presets that ship with the package."""
    items = (resources.files("recipes") / folder).iterdir()
    return sorted(item.name.removesuffix(".yaml") for item in items if item.name.endswith(".yaml"))


def load_recipe(preset: str, changes: Sequence[str], rank: int | None = None) -> Recipe:
    """A preset with `key=value` changes on top; `rank` alone keeps the preset's alpha.

    Raises:
        UsageError: unknown preset or key, or a value out of bounds.
    """
    return load_settings(Recipe, PRESETS, preset, changes, rank)


def load_settings(model: type[Settings], folder: str, preset: str, changes: Sequence[str],
                  rank: int | None) -> Settings:  # fmt: skip
    """The same for any settings whose presets lie in `folder`."""
    if preset not in presets(folder):
        raise UsageError(f"There is no preset {preset!r}: choose {', '.join(presets(folder))}.")
    text = (resources.files("recipes") / folder / f"{preset}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    values.pop("about")
    given = dict(_parsed(change) for change in changes)
    if rank is not None and "rank" in given:
        raise UsageError("--rank and --set rank say the same: leave one of them out.")
    values |= given if rank is None else {**given, "rank": rank}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"])
        known = f" (keys: {', '.join(model.model_fields)})" if detail["type"] == "extra_forbidden" else ""
        option = "--rank" if key == "rank" and rank is not None else f"--set {key}"
        raise UsageError(f"{option}: {detail['msg']}{known}.") from error


def load_merging(**options: Any) -> Merging:
    """A merging from the options of the command line that were given.

    Raises:
        UsageError: an option out of bounds.
    """
    try:
        return Merging.model_validate({key: value for key, value in options.items() if value is not None})
    except ValidationError as error:
        detail = error.errors()[0]
        option = "merge" if detail["loc"][0] == "method" else detail["loc"][0]
        raise UsageError(f"--{option}: {detail['msg']}.") from error


def _parsed(change: str) -> tuple[str, str]:
    key, equals, value = change.partition("=")
    if not equals:
        raise UsageError(f"--set takes key=value, not {change!r}.")
    return key.strip(), value.strip()
