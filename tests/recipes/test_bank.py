"""The bank: y = W x + s B A x, the same as PEFT's; the bare base comes through untouched, and rows mind themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from recipes.bank import Bank
from recipes.base_model import BaseModel, find_projections, load_base
from recipes.block import Block, Pair, load_block, save_block
from registry.errors import BaseMismatch

TOKENS = torch.tensor([[5, 17, 42, 99, 200, 13, 7, 64], [88, 3, 150, 21, 9, 31, 250, 11]])
KINDS = ["llama", "gemma", "gpt2"]


def gpt2() -> BaseModel:
    """A two-layer GPT-2: its weights are stored (d_in, d_out)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=264, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
    model = GPT2LMHeadModel(config).requires_grad_(False).eval()
    return BaseModel("gpt2", "f", model, None, find_projections(model))


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Callable[[str], BaseModel]:
    """A base of its own at every call, always with the same weights."""

    def make(kind: str) -> BaseModel:
        if kind == "gpt2":
            return gpt2()
        folder: Path = request.getfixturevalue(f"pico_{kind}")
        return load_base(folder, name=kind, fingerprint="f", device=torch.device("cpu"))

    return make


def random_block(base: BaseModel, seed: int = 0, rank: int = 4, alpha: float = 12.0) -> Block:
    """Factors large enough that every logit moves."""
    generator = torch.Generator().manual_seed(seed)
    pairs = {path: Pair(torch.randn(rank, d_in, generator=generator) * 0.2,
                        torch.randn(d_out, rank, generator=generator) * 0.2)
             for path, (d_out, d_in) in base.shapes.items()}  # fmt: skip
    return Block(pairs, rank, alpha)


def logits(base: BaseModel, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    with torch.inference_mode():
        return base.model(input_ids=tokens, use_cache=False).logits.clone()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_block_gives_the_same_logits_in_peft(
    kind: str, fresh: Callable[[str], BaseModel], tmp_path: Path
) -> None:
    from peft import PeftModel

    base, plain = fresh(kind), fresh(kind)
    save_block(random_block(base), tmp_path, base=kind, card={}, transposed=base.transposed)
    bank, bare = Bank(base), logits(plain)
    with bank.using(load_block(tmp_path)):
        ours = logits(base)
    adapted = PeftModel.from_pretrained(plain.model, str(tmp_path)).eval()
    with torch.inference_mode():
        theirs = adapted(input_ids=TOKENS, use_cache=False).logits
    assert (ours - bare).abs().max() > 1e-2
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_is_a_low_rank_change_of_the_weights(kind: str, fresh: Callable[[str], BaseModel]) -> None:
    base, merged = fresh(kind), fresh(kind)
    block = random_block(base)
    for path, (a, b) in block.pairs.items():
        change = block.alpha / block.rank * (b @ a)
        weight = merged.model.get_submodule(path).weight
        weight += change.T if merged.transposed else change
    with Bank(base).using(block):
        torch.testing.assert_close(logits(base), logits(merged), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_with_no_block_in_use_the_logits_are_the_bases_bit_for_bit(
    kind: str, fresh: Callable[[str], BaseModel]
) -> None:
    base, untouched = fresh(kind), fresh(kind)
    bank, bare = Bank(base), logits(untouched)
    assert torch.equal(logits(base), bare)
    with bank.using(random_block(base)):
        assert not torch.equal(logits(base), bare)
    assert torch.equal(logits(base), bare)
    with bank.using(None):
        assert torch.equal(logits(base), bare)


def test_the_bases_weights_are_only_read(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    before = {name: tensor.clone() for name, tensor in base.model.named_parameters()}
    with Bank(base).using(random_block(base)):
        logits(base)
    after = {name.replace(".base.", "."): tensor for name, tensor in base.model.named_parameters()}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_rows_logits_do_not_depend_on_its_neighbours(kind: str, fresh: Callable[[str], BaseModel]) -> None:
    base = fresh(kind)
    others = torch.randint(3, 264, (5, TOKENS.shape[1]), generator=torch.Generator().manual_seed(4))
    with Bank(base).using(random_block(base)):
        alone = logits(base, TOKENS[:1])
        crowded = logits(base, torch.cat([others, TOKENS[:1]]))[-1:]
    torch.testing.assert_close(crowded, alone, atol=1e-5, rtol=1e-5)


def test_what_was_in_use_comes_back(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    bank, one, two = Bank(base), random_block(base, seed=1), random_block(base, seed=2, alpha=3.0)
    bare = logits(base)
    with bank.using(one):
        of_one = logits(base)
        with bank.using(two):
            assert not torch.equal(logits(base), of_one)
        assert torch.equal(logits(base), of_one)
        with bank.using(None):
            assert torch.equal(logits(base), bare)
        assert torch.equal(logits(base), of_one)
        with pytest.raises(KeyboardInterrupt), bank.using(two):
            raise KeyboardInterrupt
        assert torch.equal(logits(base), of_one)
    assert torch.equal(logits(base), bare)


def test_a_block_of_some_modules_leaves_the_others_bare(fresh: Callable[[str], BaseModel]) -> None:
    base, merged = fresh("llama"), fresh("llama")
    path = "model.layers.0.self_attn.v_proj"
    block = random_block(base)
    part = Block({path: block.pairs[path]}, block.rank, block.alpha)
    merged.model.get_submodule(path).weight += part.scale * part.pairs[path].b @ part.pairs[path].a
    bank = Bank(base)
    with bank.using(block), bank.using(part):
        torch.testing.assert_close(logits(base), logits(merged), atol=1e-5, rtol=1e-5)


def test_a_block_in_use_is_referenced_so_that_it_can_be_trained(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    block = random_block(base)
    leaves = [factor.requires_grad_() for pair in block.pairs.values() for factor in pair]
    with Bank(base).using(block):
        out = base.model(input_ids=TOKENS, use_cache=False).logits
        functional.cross_entropy(out[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
    assert all(leaf.grad is not None and leaf.grad.abs().max() > 0 for leaf in leaves)
    assert all(parameter.grad is None for parameter in base.model.parameters())


def test_a_block_is_put_on_the_device_unchanged(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    block = random_block(base)
    moved = Bank(base).on_device(block)
    assert (moved.rank, moved.alpha) == (block.rank, block.alpha)
    assert all(torch.equal(mine, its) for path in block.pairs
               for mine, its in zip(moved.pairs[path], block.pairs[path], strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("path", "d_out", "d_in"),
    [("model.layers.0.self_attn.q_proj", 32, 48), ("model.layers.0.self_attn.q_proj", 64, 32),
     ("model.layers.7.self_attn.q_proj", 32, 32), ("lm_head", 264, 32)],
    ids=["d_in", "d_out", "no-such-layer", "outside-the-layers"],
)  # fmt: skip
def test_a_block_of_another_base_is_refused(
    path: str, d_out: int, d_in: int, fresh: Callable[[str], BaseModel]
) -> None:
    base = fresh("llama")
    block = Block({path: Pair(torch.zeros(2, d_in), torch.zeros(d_out, 2))}, 2, 2.0)
    with pytest.raises(BaseMismatch, match="does not fit llama"):
        Bank(base).on_device(block)
