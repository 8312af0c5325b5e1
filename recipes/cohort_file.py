"""A cohort on disk: the network's weights and a config, enough to write a block for somebody new. Knows files and the
network; nothing of the registry or of training.

Only safetensors and JSON are read; what a folder claims is checked against what it holds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from recipes.cohort_recipe import CohortRecipe
from recipes.hyper_half import HyperHalf, Shapes
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
        """(d_c,) where somebody new starts from: what the persona says, else the mean of everybody."""
        with torch.no_grad():
            if persona is not None and self.network.persona is not None:
                return self.network.persona(persona.to(self.network.characters.device))
            personas = None if self.personas is None else self.personas.to(self.network.characters.device)
            return self.network.embeddings(personas).mean(0)


def save_cohort(cohort: Cohort, folder: Path, *, base_fingerprint: str, shapes: Shapes) -> None:
    """Write the two files into an empty folder."""
    config = {
        "format": FORMAT, "name": cohort.name, "version": cohort.version, "members": list(cohort.members),
        "encoder": cohort.encoder, "base_fingerprint": base_fingerprint,
        "persona_width": cohort.network.persona_width, "recipe": cohort.network.recipe.model_dump(),
        "shapes": {path: list(shape) for path, shape in sorted(shapes.items())},
    }  # fmt: skip
    tensors = {name: each.detach().float().cpu().contiguous() for name, each in cohort.network.state_dict().items()}
    if cohort.personas is not None:
        tensors["personas"] = cohort.personas.detach().float().cpu().contiguous()
    (folder / "network.safetensors").write_bytes(save(tensors))
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def load_cohort(folder: Path, *, base_fingerprint: str, shapes: Shapes) -> Cohort:
    """Read a cohort over this base.

    Raises:
        CohortDamaged: unreadable, of another format or base, or its tensors are not its config's.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        _refuse_foreign(folder, config, base_fingerprint, shapes)
        tensors = load_file(folder / "network.safetensors")
        recipe = CohortRecipe.model_validate(config["recipe"])
        personas = tensors.pop("personas", None)
        network = HyperHalf(shapes, recipe, len(config["members"]), 0, int(config["persona_width"]))
        network.load_state_dict(tensors)
        network.requires_grad_(False)
        return Cohort(config["name"], config["version"], network, config["members"], config["encoder"], personas)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ValidationError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CohortDamaged(f"{folder} holds no readable cohort ({reason}).") from error


def _refuse_foreign(folder: Path, config: Mapping[str, Any], base_fingerprint: str, shapes: Shapes) -> None:
    if config["format"] != FORMAT:
        raise CohortDamaged(
            f"{folder} is of format {config['format']} and this neekoctl reads {FORMAT}: use the one that wrote it."
        )
    if config["base_fingerprint"] != base_fingerprint or config["shapes"] != {k: list(v) for k, v in shapes.items()}:
        raise CohortDamaged(f"{folder} was trained over another base: choose a cohort of this one.")
