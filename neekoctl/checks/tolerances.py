"""What a check lets pass: check.yaml, and the options that overrule it. Knows nothing of what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from registry.errors import UsageError

FILE = "check.yaml"
OF_TWO_BLOCKS = ("likelihood_elsewhere", "significance")  # what counts where one block is compared with another


class Tolerances(BaseModel):
    """One number a measure. Weights and replies may not change at all unless somebody says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weights: int = Field(default=0, ge=0, description="characters whose block or records may differ")
    likelihood: float = Field(default=1e-4, ge=0, description="nats a token lost, on the machine of the onboarding")
    likelihood_elsewhere: float = Field(default=0.02, ge=0, description="nats a token lost, on another machine")
    replies: float = Field(default=0.0, ge=0, le=1, description="share of a character's greedy replies that differ")
    gate: float = Field(default=0.05, ge=0, le=1, description="share of the questions that no longer find their owner")
    style: float = Field(default=0.05, ge=0, description="nats a token of distinctness lost")
    significance: float = Field(default=0.05, gt=0, lt=1, description="of the tests on likelihood, gate and style")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_yes_and_no(cls, value: object) -> object:
        """YAML's true and false would count as 1 and 0."""
        if isinstance(value, bool):
            raise ValueError("wants a number")
        return value


def tolerances(
    file: Path | None, changed: Sequence[str], measures: Sequence[str] = tuple(Tolerances.model_fields)
) -> Tolerances:
    """The tolerances of `file` (without one, of check.yaml here if there is one), then `changed` by MEASURE=VALUE, of
    those `measures` that count.

    Raises:
        UsageError: the file cannot be read, or a measure or value is wrong.
    """
    path = file or (Path(FILE) if Path(FILE).is_file() else None)
    found = _read(path) if path else {}
    for each in changed:
        measure, given, value = each.partition("=")
        if not given:
            raise UsageError(f"--tolerance {each} has no value: write it as MEASURE=VALUE, as in {measures[-1]}=0.01.")
        if measure.strip() not in measures:
            raise UsageError(f"--tolerance names no measure {measure.strip()!r}: choose {', '.join(measures)}.")
        found[measure.strip()] = value.strip()
    try:
        return Tolerances.model_validate(found)
    except ValidationError as error:
        raise UsageError(_told(error, path)) from error


def _read(path: Path) -> dict[str, object]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read ({error}): give a YAML file of measures and numbers.") from error
    if not isinstance(found or {}, dict):
        raise UsageError(f"{path} is no mapping: write lines such as `likelihood: 0.01`.")
    return {str(key): value for key, value in (found or {}).items()}


def _told(error: ValidationError, path: Path | None) -> str:
    first = error.errors()[0]
    where = f"{path} or --tolerance" if path else "--tolerance"
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{where} names no measure {field!r}: choose {', '.join(Tolerances.model_fields)}."
    return f"{where}: {field}: {first['msg'].lower()}, not {first['input']!r}."
