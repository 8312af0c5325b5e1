"""A block on disk is a standard PEFT adapter, written byte for byte the same; what is no plain LoRA is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from recipes.block import Block, Pair, fresh_block, load_block, save_block
from registry.blocks import folder_digest
from registry.errors import BlockDamaged

SHAPES = {"layers.0.up": (6, 4), "layers.0.down": (4, 6), "layers.1.up": (6, 4)}
CARD = {"name": "Señor Moth", "seed": 3}


def random_block(rank: int = 3, alpha: float = 7.0, seed: int = 0) -> Block:
    generator = torch.Generator().manual_seed(seed)
    return Block(
        {path: Pair(torch.randn(rank, d_in, generator=generator), torch.randn(d_out, rank, generator=generator))
         for path, (d_out, d_in) in SHAPES.items()},
        rank, alpha,
    )  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "block"
    folder.mkdir()
    save_block(random_block(), folder, base="pico", card=CARD)
    return folder


def test_a_saved_block_is_read_back_bit_for_bit(saved: Path) -> None:
    block, back = random_block(), load_block(saved)
    assert (back.rank, back.alpha, back.scale) == (3, 7.0, 7.0 / 3)
    assert back.pairs.keys() == block.pairs.keys()
    for path, pair in block.pairs.items():
        assert torch.equal(back.pairs[path].a, pair.a)
        assert torch.equal(back.pairs[path].b, pair.b)
    assert back.nbytes == block.nbytes == sum(4 * 3 * (d_in + d_out) for d_out, d_in in SHAPES.values())


def test_the_same_block_is_written_with_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    backwards = random_block()
    backwards = Block(dict(reversed(backwards.pairs.items())), backwards.rank, backwards.alpha)
    for folder, block in ((again, backwards), (other, random_block(seed=1))):
        folder.mkdir()
        save_block(block, folder, base="pico", card=CARD)
    assert folder_digest(again) == folder_digest(saved)
    assert folder_digest(other) != folder_digest(saved)


def test_the_card_is_written_as_it_was_given(saved: Path) -> None:
    assert json.loads((saved / "neeko.json").read_text(encoding="utf-8")) == CARD


def test_training_precision_and_graph_stay_out_of_the_file(tmp_path: Path) -> None:
    block = random_block()
    pairs = {path: Pair(pair.a.bfloat16().requires_grad_(), pair.b.bfloat16()) for path, pair in block.pairs.items()}
    save_block(Block(pairs, 3, 7.0), tmp_path, base="pico", card=CARD)
    for pair in load_block(tmp_path).pairs.values():
        assert {factor.dtype for factor in pair} == {torch.float32}
        assert not any(factor.requires_grad for factor in pair)


def reconfigured(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps(config), encoding="utf-8")

    return spoil


def without(key: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        del config[key]
        path.write_text(json.dumps(config), encoding="utf-8")

    return spoil


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return spoil


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncated(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])


def pickled(folder: Path) -> None:
    """Only `adapter_model.bin`, as older PEFT wrote it."""
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def pickled_under_the_name_of_safetensors(folder: Path) -> None:
    pickled(folder)
    (folder / "adapter_model.bin").rename(folder / "adapter_model.safetensors")


def retensored(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "fresh")  # the tensors read are still mapped from the file they replace
        (folder / "fresh").replace(folder / "adapter_model.safetensors")

    return spoil


BAD: dict[str, Callable[[Path], None]] = {
    "rsLoRA": reconfigured(use_rslora=True),
    "DoRA": reconfigured(use_dora=True),
    "bias-all": reconfigured(bias="all"),
    "bias-lora-only": reconfigured(bias="lora_only"),
    "config-garbage": written("adapter_config.json", b"{r: 8"),
    "config-binary": written("adapter_config.json", b"\xff\xfe\x00"),
    "config-a-list": written("adapter_config.json", b"[8]"),
    "config-missing": removed("adapter_config.json"),
    "no-rank": without("r"),
    "no-alpha": without("lora_alpha"),
    "rank-a-word": reconfigured(r="many"),
    "rank-null": reconfigured(r=None),
    "rank-zero": reconfigured(r=0),
    "rank-not-the-tensors'": reconfigured(r=8),
    "alpha-of-its-own-somewhere": reconfigured(alpha_pattern={"up": 64}),
    "modules-trained-whole": reconfigured(modules_to_save=["lm_head"]),
    "weights-garbage": written("adapter_model.safetensors", b"no tensors here" * 8),
    "weights-empty": written("adapter_model.safetensors", b""),
    "weights-missing": removed("adapter_model.safetensors"),
    "weights-truncated": truncated,
    "pickle": pickled,
    "pickle-renamed": pickled_under_the_name_of_safetensors,
    "A-without-B": retensored(lambda tensors: tensors.pop("base_model.model.layers.0.up.lora_B.weight")),
    "no-factors": retensored(lambda tensors: tensors.clear()),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_what_is_no_plain_lora_is_refused(spoil: Callable[[Path], None], saved: Path) -> None:
    spoil(saved)
    with pytest.raises(BlockDamaged, match="LoRA adapter"):
        load_block(saved)


def test_a_fresh_block_adds_nothing_until_it_is_trained() -> None:
    block = fresh_block(SHAPES, 3, 6.0, seed=1)
    assert (block.rank, block.scale) == (3, 2.0)
    for path, (d_out, d_in) in SHAPES.items():
        a, b = block.pairs[path]
        assert a.shape == (3, d_in)
        assert torch.equal(b, torch.zeros(d_out, 3))
        assert a.abs().max() <= d_in**-0.5
        assert a.std() > 0.3 * d_in**-0.5  # spread over the interval, not bunched at zero


def test_a_fresh_block_depends_on_its_seed_and_not_on_the_order_of_modules() -> None:
    block = fresh_block(SHAPES, 3, 6.0, seed=1)
    shuffled = fresh_block(dict(reversed(SHAPES.items())), 3, 6.0, seed=1)
    other = fresh_block(SHAPES, 3, 6.0, seed=2)
    for path, pair in block.pairs.items():
        assert torch.equal(shuffled.pairs[path].a, pair.a)
        assert not torch.equal(other.pairs[path].a, pair.a)
    assert not torch.equal(block.pairs["layers.0.up"].a, block.pairs["layers.1.up"].a)
