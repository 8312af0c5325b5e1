"""Loading a base: what is adapted is found by inspection, and what is no causal LM is refused in a sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from recipes.base_model import find_projections, load_base
from registry.errors import BaseError
from tests.picos import CHATML, _tokenizer

LEAVES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
          "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
WIDTHS = {
    "llama": [(32, 32), (16, 32), (16, 32), (32, 32), (64, 32), (64, 32), (32, 64)],
    "gemma": [(32, 32), (8, 32), (8, 32), (32, 32), (64, 32), (64, 32), (32, 64)],
}


@pytest.mark.parametrize("kind", sorted(WIDTHS))
def test_the_seven_projections_of_every_layer_are_adapted(kind: str, request: pytest.FixtureRequest) -> None:
    base = load_base(request.getfixturevalue(f"pico_{kind}"), name=kind, fingerprint="f")
    expected = {
        f"model.layers.{layer}.{leaf}": shape
        for layer in range(2)
        for leaf, shape in zip(LEAVES, WIDTHS[kind], strict=True)
    }
    assert base.shapes == expected
    assert not base.transposed


def test_gpt2s_transposed_projections_are_found_with_their_real_widths() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=264, n_embd=32, n_layer=2, n_head=2, n_positions=64))
    found = find_projections(model)
    widths = {"attn.c_attn": (96, 32), "attn.c_proj": (32, 32), "mlp.c_fc": (128, 32), "mlp.c_proj": (32, 128)}
    assert {path: (each.d_out, each.d_in) for path, each in found.items()} == {
        f"transformer.h.{layer}.{leaf}": shape for layer in range(2) for leaf, shape in widths.items()
    }
    assert all(each.transposed for each in found.values())


@pytest.mark.parametrize("kind", ["sees-what-comes", "keeps-no-cache"])
def test_what_reads_otherwise_than_a_decoder_is_refused(kind: str, tmp_path: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel, RwkvConfig, RwkvForCausalLM

    torch.manual_seed(0)
    bert = BertConfig(vocab_size=264, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    model = {
        "sees-what-comes": lambda: BertLMHeadModel(bert),
        "keeps-no-cache": lambda: RwkvForCausalLM(RwkvConfig(vocab_size=264, hidden_size=32, num_hidden_layers=2)),
    }[kind]()
    _save(model, tmp_path)
    with pytest.raises(BaseError, match="sees what comes later or forgets what came before"):
        load_base(tmp_path, name=kind, fingerprint="f")


def _save(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder)
    _tokenizer(folder, CHATML)


class Headed(nn.Module):
    """A stack of layers with linear maps outside it, a shorter stack, and a longer one that holds none."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(9))
        self.towers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4)) for _ in range(2))
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4)) for _ in range(3))
        self.mixed = nn.ModuleList([nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 8)


def test_heads_and_smaller_stacks_are_left_alone() -> None:
    assert sorted(find_projections(Headed())) == [f"layers.{layer}.{inner}" for layer in range(3) for inner in (0, 1)]


def test_the_experts_of_a_layer_are_no_stack_of_layers() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList(nn.ModuleDict({"experts": nn.ModuleList(nn.Linear(4, 4) for _ in range(5))})
                                 for _ in range(2))  # fmt: skip
    paths = [f"layers.{layer}.experts.{expert}" for layer in range(2) for expert in range(5)]
    assert sorted(find_projections(model)) == paths


@pytest.mark.parametrize(
    "model",
    [nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.ModuleList([nn.LayerNorm(4)] * 2)],
    ids=["one-map", "no-stack", "a-stack-without-maps"],
)
def test_a_model_without_layers_is_refused(model: nn.Module) -> None:
    with pytest.raises(BaseError, match="no stack of decoder layers"):
        find_projections(model)


def test_a_base_is_frozen_in_evaluation_mode_and_knows_its_reach(pico_llama: Path) -> None:
    base = load_base(pico_llama, name="pico", fingerprint="f", device=torch.device("cpu"))
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert not any(module.training for module in base.model.modules())
    assert (base.dtype, base.device, base.longest) == (torch.float32, torch.device("cpu"), 1024)


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def with_a_config_of_wrong_kinds(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": "32"}), encoding="utf-8")


def with_code_of_its_own(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    mine = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps({**config, **mine}), encoding="utf-8")
    (folder / "mine.py").write_text("raise SystemExit('the code of a base has run')", encoding="utf-8")


def with_half_a_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ', encoding="utf-8")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_pickled_weights_alone(folder: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def with_a_missing_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, folder / "fresh", metadata={"format": "pt"})  # what was read is still mapped from the old file
    (folder / "fresh").replace(folder / "model.safetensors")


def with_truncated_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def with_garbage_for_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no tensors here" * 8)


@pytest.mark.parametrize(
    "spoil",
    [without_tokenizer, without_config, with_half_a_config, with_a_config_of_wrong_kinds, with_code_of_its_own,
     without_weights, with_pickled_weights_alone,
     with_a_missing_tensor, with_truncated_weights, with_garbage_for_weights],
)  # fmt: skip
def test_a_spoiled_base_is_refused_in_one_sentence(
    spoil: Callable[[Path], None], pico_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")  # whoever is asked may say yes without thinking
    folder = tmp_path / "base"
    shutil.copytree(pico_llama, folder)
    load_base(folder, name="whole", fingerprint="f")
    spoil(folder)
    with pytest.raises(BaseError, match="^spoiled ") as refused:
        load_base(folder, name="spoiled", fingerprint="f")
    assert "\n" not in str(refused.value)


def test_a_sentence_encoder_is_no_base(pico_encoder: Path) -> None:
    with pytest.raises(BaseError, match="not a causal language model"):
        load_base(pico_encoder, name="encoder", fingerprint="f")


def test_layers_that_keep_another_state_than_attention_are_refused(pico_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pico_llama, tmp_path / "hybrid")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_types": ["full_attention", "conv"]}))
    with pytest.raises(BaseError, match="has conv layers"):
        load_base(folder, name="hybrid", fingerprint="f")
