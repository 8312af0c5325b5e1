"""A cohort on disk: the network's weights and a config, enough to write a block for somebody new. Knows files and the
network; nothing of the registry or of training.

Only safetensors and JSON are read; what a folder claims is checked against what it holds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from recipes.block import stored, write_json
from recipes.cohort_recipe import CohortRecipe
from recipes.hyper_half import HyperHalf, Shapes
from recipes.quiet import first_line
from registry.errors import CohortDamaged

FORMAT = 1


@dataclass(frozen=True)
class Cohort:
    """A trained network, whom it knows, and the encoder whose personas it reads."""

    name: str
    version: int
    network: HyperHalf
    members: Sequence[str]
    encoder: str | None = None  # provenance; None where it reads no personas
    personas: torch.Tensor | None = None  # (members, p)

    @property
    def title(self) -> str:
        return f"cohort {self.name} version {self.version}"

    def newcomer(self, persona: torch.Tensor | None = None) -> torch.Tensor:
        """(d_c,) where somebody new starts from: what the persona says, else the mean of everybody. A network that has
        never done without an id is given everybody's mean for one, beside the persona."""
        network = self.network
        with torch.no_grad():
            if persona is not None and network.persona is not None:
                id_too = 0.0 if network.recipe.ids_left_out else network.characters.mean(0)
                return network.persona(persona.to(network.characters.device)) + id_too
            personas = None if self.personas is None else self.personas.to(network.characters.device)
            return network.embeddings(personas).mean(0)


class Config(BaseModel):
    """What `config.json` says."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: int = FORMAT
    name: str
    version: int
    members: Annotated[list[str], Field(min_length=1)]
    encoder: str | None
    base_fingerprint: str
    persona_width: Annotated[int, Field(ge=0, le=8192)]
    recipe: CohortRecipe
    shapes: dict[str, list[int]]


def save_cohort(cohort: Cohort, folder: Path, *, base_fingerprint: str, shapes: Shapes) -> None:
    """Write the two files into an empty folder."""
    config = Config(name=cohort.name, version=cohort.version, members=list(cohort.members), encoder=cohort.encoder,
                    base_fingerprint=base_fingerprint, persona_width=cohort.network.persona_width,
                    recipe=cohort.network.recipe, shapes=_listed(shapes))  # fmt: skip
    tensors = {name: stored(each) for name, each in cohort.network.state_dict().items()}
    if cohort.personas is not None:
        tensors["personas"] = stored(cohort.personas)
    (folder / "network.safetensors").write_bytes(save(tensors))
    write_json(folder / "config.json", config.model_dump())


def load_cohort(folder: Path, *, base_fingerprint: str, shapes: Shapes) -> Cohort:
    """Read a cohort over this base.

    Raises:
        CohortDamaged: unreadable, of another format or base, or its tensors are not its config's or hold what is no
            number.
    """
    try:
        text = (folder / "config.json").read_bytes()
        _refuse_another_format(folder, json.loads(text))
        config = Config.model_validate_json(text)
        if config.base_fingerprint != base_fingerprint or config.shapes != _listed(shapes):
            raise CohortDamaged(f"{folder} was trained over another base: choose a cohort of this one.")
        network, personas = _network(config, load_file(folder / "network.safetensors"), shapes)
        return Cohort(config.name, config.version, network, config.members, config.encoder, personas)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CohortDamaged(f"{folder} holds no readable cohort ({first_line(error)}).") from error


def _network(config: Config, tensors: dict[str, torch.Tensor], shapes: Shapes) -> tuple[HyperHalf, torch.Tensor | None]:
    """The network, and its members' personas."""
    if not all(each.isfinite().all() for each in tensors.values()):
        raise ValueError("some of its weights are no numbers")
    personas, members = tensors.pop("personas", None), len(config.members)
    found = None if personas is None else tuple(personas.shape)
    if found != ((members, config.persona_width) if config.persona_width else None):
        raise ValueError("its personas are not those of its members")
    network = HyperHalf(shapes, config.recipe, members, 0, config.persona_width)
    network.load_state_dict(tensors)
    network.requires_grad_(False)
    return network, personas


def _refuse_another_format(folder: Path, config: Any) -> None:
    """Before it is looked at further: what another format means nobody here knows."""
    if isinstance(config, dict) and (found := config.get("format")) != FORMAT:
        told = f"{folder} is of format {found!r} and this neekoctl reads {FORMAT}"
        raise CohortDamaged(f"{told}: use the one that wrote it.")


def _listed(shapes: Shapes) -> dict[str, list[int]]:
    return {path: list(shape) for path, shape in sorted(shapes.items())}
