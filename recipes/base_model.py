"""A frozen base model with its tokenizer, and the projections that blocks attach to.
Knows nothing of characters, ranks or where the folder came from.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recipes.quiet import first_line, quiet_transformers
from registry.errors import BaseError

ROUNDING, COARSE = 1e-3, 3e-2  # of the largest logit, by which two ways to it may differ in float32, and in halves
LOCAL = {"local_files_only": True, "trust_remote_code": False}  # nor is anybody asked whether a folder's code may run


@dataclass(frozen=True)
class Projection:
    """One linear map y = W x inside a decoder layer."""

    path: str
    d_out: int
    d_in: int
    transposed: bool  # the weight is stored (d_in, d_out), as in GPT-2


@dataclass
class BaseModel:
    """A causal LM, frozen, in evaluation mode, on its device."""

    name: str
    fingerprint: str
    model: Any
    tokenizer: Any
    projections: dict[str, Projection]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Module path -> (d_out, d_in)."""
        return {path: (each.d_out, each.d_in) for path, each in self.projections.items()}

    @property
    def transposed(self) -> bool:
        return any(each.transposed for each in self.projections.values())

    @property
    def longest(self) -> int:
        """Tokens the positions reach."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 2048))

    @property
    def vocabulary(self) -> int:
        """Tokens that have an embedding."""
        return int(self.model.get_input_embeddings().weight.shape[0])


def best_device() -> torch.device:
    """CUDA when there is one, CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_base(folder: Path, *, name: str, fingerprint: str, device: torch.device | None = None) -> BaseModel:
    """Load a local folder: bf16 on CUDA, fp32 on CPU, where bf16 is slower.

    Raises:
        BaseError: not a causal LM, or its weights cannot be read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    device = device or best_device()
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **LOCAL
        )
        model, loading = loaded
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    except Exception as error:  # noqa: BLE001  a damaged or foreign config makes the readers raise anything
        raise BaseError(f"{name} cannot be loaded as a causal language model: {first_line(error)}.") from error
    if missing := sorted(loading["missing_keys"]):
        raise BaseError(f"{name} is not a causal language model: its weights lack {missing[0]}.")
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if other := sorted(kind for kind in kinds if not kind.endswith("attention") or kind.startswith("linear")):
        raise BaseError(f"{name} has {other[0]} layers, and only attention keeps conversations apart here: take a base "
                        f"without them.")  # fmt: skip
    model.requires_grad_(False).eval().to(device)
    if not _reads_on(model):
        raise BaseError(f"{name} reads otherwise than a decoder with a cache: it sees what comes later or forgets what "
                        f"came before.")  # fmt: skip
    return BaseModel(name, fingerprint, model, tokenizer, find_projections(model))


@torch.inference_mode()
def _reads_on(model: Any) -> bool:
    """Whether a later token changes nothing before it, and one that is read after a cache is as if all were read."""
    from transformers import DynamicCache

    both, cache = torch.tensor([[0, 1, 0], [0, 1, 1]], device=model.device), DynamicCache()
    try:
        whole, changed = model(input_ids=both).logits.float()
        model(input_ids=both[:1, :2], past_key_values=cache, use_cache=True)
        place = torch.tensor([[2]], device=model.device)
        last = model(input_ids=both[:1, 2:], position_ids=place, past_key_values=cache, use_cache=True).logits.float()
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001  a model of another kind may raise anything
        return False
    near = (ROUNDING if model.dtype == torch.float32 else COARSE) * float(whole.abs().max())
    causal = torch.allclose(whole[:2], changed[:2], rtol=0.0, atol=near)
    return causal and torch.allclose(whole[2:], last[0], rtol=0.0, atol=near)


def find_projections(model: nn.Module) -> dict[str, Projection]:
    """The linear maps of the decoder layers, found by inspection rather than by a list of names.

    The decoder layers are the longest ModuleList whose items are of one class and that lies in no other one (the
    experts of a layer do); embeddings and the output head lie outside it. Linear maps inside are `nn.Linear`, or
    transformers' `Conv1D` with its weight transposed.

    Raises:
        BaseError: the model has no stack of layers with linear maps.
    """
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = {path: stack for path, stack in lists.items() if not any(path.startswith(f"{each}.") for each in lists)}
    stacks = [item for item in outer.items() if len({type(layer) for layer in item[1]}) == 1]
    for path, stack in sorted(stacks, key=lambda item: -len(item[1])):
        found = {f"{path}.{inner}": module for inner, module in stack.named_modules() if _is_linear(module)}
        if found:
            return {name: _projection(name, module) for name, module in found.items()}
    raise BaseError(f"{type(model).__name__} has no stack of decoder layers with linear maps to adapt.")


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _projection(path: str, module: nn.Module) -> Projection:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    transposed = not isinstance(module, nn.Linear)
    d_in, d_out = weight.shape if transposed else weight.shape[::-1]
    return Projection(path, d_out, d_in, transposed)
