"""One character's block: its tensors, its scale, and the PEFT folder they are kept in.
Knows no model, no bank and no training.

    delta_W = (alpha / r) B A        A in R^(r x d_in), B in R^(d_out x r)        (LoRA, arXiv 2106.09685, eq. 3)
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from registry.errors import BlockDamaged

PREFIX = "base_model.model."
UNREAD = ("use_rslora", "use_dora", "bias", "alpha_pattern", "rank_pattern", "modules_to_save")  # would change delta_W


class Pair(NamedTuple):
    """The two factors at one projection."""

    a: torch.Tensor  # (r, d_in)
    b: torch.Tensor  # (d_out, r)


@dataclass(frozen=True)
class Block:
    """Factors by module path, with one rank and one alpha for all of them."""

    pairs: dict[str, Pair]
    rank: int
    alpha: float

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for pair in self.pairs.values() for tensor in pair)


def save_block(block: Block, folder: Path, *, base: str, card: dict[str, Any], transposed: bool = False) -> None:
    """Write a standard PEFT LoRA adapter, and `neeko.json` from `card`.

    `base` becomes `base_model_name_or_path`; `transposed` says that the base stores its weights (d_in, d_out).
    """
    tensors = {}
    for module, pair in block.pairs.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = stored(pair.a)
        tensors[f"{PREFIX}{module}.lora_B.weight"] = stored(pair.b)
    weights = save(tensors, metadata={"format": "pt"})  # `save_file` would let nobody else read it
    (folder / "adapter_model.safetensors").write_bytes(weights)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": block.rank,
        "lora_alpha": block.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": transposed,
        "modules_to_save": None,
        "target_modules": sorted({module.rpartition(".")[2] for module in block.pairs}),
        "inference_mode": True,
    }
    write_json(folder / "adapter_config.json", config)
    write_json(folder / "neeko.json", card)


def stored(tensor: torch.Tensor) -> torch.Tensor:
    """As it lies in a file: float32, wherever it was."""
    return tensor.detach().float().cpu().contiguous()


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def load_block(folder: Path) -> Block:
    """Read a PEFT LoRA adapter folder.

    Raises:
        BlockDamaged: unreadable, or not the plain LoRA this project writes.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        pairs = {_module(name): Pair(tensors[name], tensors[name.replace("lora_A", "lora_B")])
                 for name in sorted(tensors) if ".lora_A." in name}  # fmt: skip
        extras = [key for key in UNREAD if config.get(key) not in (None, False, [], {}, "none")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BlockDamaged(f"{folder} does not hold a readable LoRA adapter ({error}).") from error
    fits = rank >= 1 and all(pair.a.shape[0] == pair.b.shape[1] == rank for pair in pairs.values())
    if extras or not pairs or not fits:
        reason = f"it sets {extras[0]}" if extras else "its rank is not its tensors'"
        raise BlockDamaged(f"{folder} is not a plain LoRA adapter of one rank and alpha ({reason}).")
    return Block(pairs, rank, alpha)


def _module(name: str) -> str:
    return name.removeprefix(PREFIX).partition(".lora_A.")[0]


def fresh_block(shapes: dict[str, tuple[int, int]], rank: int, alpha: float, seed: int) -> Block:
    """LoRA's initial state: A uniform in +-1/sqrt(d_in) (Kaiming with a = sqrt(5), as in PEFT), B zero.

    `shapes` maps module path to (d_out, d_in). Every module draws from a generator of its own, so a block does not
    depend on the order in which the modules are listed.
    """
    pairs = {}
    for place, (module, (d_out, d_in)) in enumerate(sorted(shapes.items())):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + place) % 2**63)
        a = (torch.rand(rank, d_in, generator=generator) * 2 - 1) / d_in**0.5
        pairs[module] = Pair(a, torch.zeros(d_out, rank))
    return Block(pairs, rank, alpha)
