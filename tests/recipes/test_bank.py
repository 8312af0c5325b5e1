"""The bank: y = W x + s B A x, the same as PEFT's; the bare base comes through untouched, and rows mind themselves."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from torch.nn import functional

from recipes.bank import Bank
from recipes.base_model import BaseModel, find_projections, load_base
from recipes.block import Block, Pair, load_block, save_block
from registry.errors import BaseError, BaseMismatch, RankError
from registry.ranks import RankRange

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


@pytest.mark.parametrize("kind", KINDS)
def test_packing_changes_no_bit(kind: str, fresh: Callable[[str], BaseModel]) -> None:
    base = fresh(kind)
    block, bank = random_block(base), Bank(base)
    back = bank.unpack(bank.pack(block))
    assert (back.rank, back.alpha, back.pairs.keys()) == (block.rank, block.alpha, block.pairs.keys())
    assert all(torch.equal(mine, its) for path in block.pairs
               for mine, its in zip(back.pairs[path], block.pairs[path], strict=True))  # fmt: skip


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
        Bank(base).pack(block)


# many characters at once

AT = [RankRange(40, 44), RankRange(0, 2), RankRange(8, 15), RankRange(2, 8)]


def population(base: BaseModel) -> dict[RankRange, Block]:
    """Blocks of mixed ranks and alphas, each at its range."""
    return {at: random_block(base, seed, rank=at.rank, alpha=2.0 * seed + 3) for seed, at in enumerate(AT)}


def alone(base: BaseModel, block: Block, row: torch.Tensor) -> torch.Tensor:
    """A row under weights into which the block was merged."""
    merged = copy.deepcopy(base)
    for path, (a, b) in block.pairs.items():
        change = block.scale * (b @ a)
        merged.model.get_submodule(path).weight += change.T if base.transposed else change
    return logits(merged, row[None])[0]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_every_row_of_a_mixed_batch_is_the_row_alone_in_peft(
    kind: str, fresh: Callable[[str], BaseModel], tmp_path: Path
) -> None:
    from peft import PeftModel

    base, bank = fresh(kind), Bank(fresh(kind))
    blocks = population(base)
    for at, block in blocks.items():
        bank.mount(block, at)
    order = [AT[2], AT[0], AT[2], None, AT[3], AT[1]]
    rows = torch.cat([TOKENS] * 3)
    with bank.serving([{at: 1.0} if at else {} for at in order]):
        mixed = logits(bank.base, rows)
    assert torch.equal(logits(bank.base), logits(base))
    for place, at in enumerate(order):
        plain = fresh(kind)
        if at is None:
            torch.testing.assert_close(mixed[place], logits(plain, rows[place][None])[0], atol=1e-4, rtol=0)
            continue
        save_block(blocks[at], tmp_path, base=kind, card={}, transposed=base.transposed)
        adapted = PeftModel.from_pretrained(plain.model, str(tmp_path)).eval()
        with torch.inference_mode():
            theirs = adapted(input_ids=rows[place][None], use_cache=False).logits[0]
        torch.testing.assert_close(mixed[place], theirs, atol=1e-4, rtol=0)


class PagedBank(RuleBasedStateMachine):
    """Whatever is mounted, evicted or pinned in whatever order: every row reads as it does alone."""

    base: BaseModel
    blocks: dict[RankRange, Block]
    expected: dict[RankRange, torch.Tensor]

    def __init__(self) -> None:
        super().__init__()
        base = copy.deepcopy(self.base)
        self.bank = Bank(base, most_bytes=14 * Bank(copy.deepcopy(base)).rank_bytes)  # two or three of the four fit
        self.pinned: set[RankRange] = set()

    @rule(at=st.sampled_from(AT))
    def mount(self, at: RankRange) -> None:
        try:
            self.bank.mount(self.blocks[at], at)
        except RankError:
            assert self.pinned  # in the way, by their number or by where they lie
            self.pinned.discard(at)  # a block that was to be mounted anew has lost its place

    @rule(at=st.sampled_from(AT))
    def evict(self, at: RankRange) -> None:
        self.bank.evict(at)
        self.pinned.discard(at)

    @rule(at=st.sampled_from(AT), pinned=st.booleans())
    def pin(self, at: RankRange, pinned: bool) -> None:
        if not self.bank.is_mounted(at) or pinned == (at in self.pinned):
            return
        (self.bank.pin if pinned else self.bank.unpin)(at)
        self.pinned ^= {at}

    @rule(choice=st.lists(st.integers(0, 4), min_size=1, max_size=5))
    def serve(self, choice: list[int]) -> None:
        mounted: list[RankRange | None] = [*self.bank.mounted, None]
        rows = [mounted[number % len(mounted)] for number in choice]
        mixes = [{at: 1.0} if at else {} for at in rows]
        with self.bank.serving(mixes):
            whole = logits(self.bank.base, TOKENS[:1].expand(len(rows), -1))
        with self.bank.serving(mixes, tokens=1):
            single = logits(self.bank.base, TOKENS[:1, :1].expand(len(rows), -1))
        for place, at in enumerate(rows):
            expected = self.expected[at or RankRange(0, 0)]
            torch.testing.assert_close(whole[place], expected, atol=1e-4, rtol=0)
            torch.testing.assert_close(single[place], expected[:1], atol=1e-4, rtol=0)

    @invariant()
    def pinned_ones_stay_and_the_memory_is_bounded(self) -> None:
        assert self.pinned <= set(self.bank.mounted)
        assert self.bank.nbytes <= 14 * self.bank.rank_bytes


def test_a_row_reads_the_same_after_any_sequence_of_mounts_and_evictions(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    PagedBank.base, PagedBank.blocks = base, population(base)
    PagedBank.expected = {at: alone(base, block, TOKENS[0]) for at, block in PagedBank.blocks.items()}
    PagedBank.expected[RankRange(0, 0)] = logits(base, TOKENS[:1])[0]
    run_state_machine_as_test(PagedBank, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))


def test_a_blend_adds_the_blocks_by_their_weights(fresh: Callable[[str], BaseModel]) -> None:
    base, merged = fresh("llama"), fresh("llama")
    bank, blocks = Bank(base), population(base)
    for at, block in blocks.items():
        bank.mount(block, at)
    mix = {AT[0]: 0.7, AT[2]: -0.4}
    for at, weight in mix.items():
        for path, (a, b) in blocks[at].pairs.items():
            merged.model.get_submodule(path).weight += weight * blocks[at].scale * (b @ a)
    with bank.serving([{AT[1]: 1.0}, mix]):
        torch.testing.assert_close(logits(base)[1], logits(merged)[1], atol=1e-4, rtol=0)
    with bank.serving([{AT[1]: 1.0}, mix], tokens=1):
        single = logits(base, TOKENS[:, :1])[1]
    torch.testing.assert_close(single, logits(merged, TOKENS[:, :1])[1], atol=1e-4, rtol=0)


def test_the_longest_unused_leaves_first_and_who_is_in_use_stays(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    at = [RankRange(4 * place, 4 * place + 4) for place in range(4)]
    block = random_block(base)
    bank = Bank(base, most_bytes=12 * sum(map(sum, base.shapes.values())) * 4)
    for place in at[:3]:
        bank.mount(block, place)
    with bank.serving([{at[0]: 1.0}, {at[1]: 1.0}]):
        bank.mount(block, at[3])
    assert bank.mounted == [at[0], at[1], at[3]]
    bank.mount(block, at[2])
    assert bank.mounted == [at[1], at[3], at[2]]


def test_mounting_touches_neither_the_base_nor_another_block(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    bank, blocks = Bank(base), population(base)
    bank.mount(blocks[AT[0]], AT[0])
    before = {path: tensor.data_ptr() for path, tensor in base.model.named_parameters()}
    with bank.serving([{AT[0]: 1.0}] * 2):
        said = logits(base)
    for at in AT[1:]:
        bank.mount(blocks[at], at)
    assert {path: tensor.data_ptr() for path, tensor in base.model.named_parameters()} == before
    with bank.serving([{AT[0]: 1.0}] * 2):
        assert torch.equal(logits(base), said)


def test_a_range_that_is_not_the_blocks_or_not_free_is_refused(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    bank, block = Bank(base), random_block(base)
    with pytest.raises(RankError, match="rank 4 cannot lie at"):
        bank.mount(block, RankRange(0, 8))
    bank.mount(block, RankRange(0, 4))
    with pytest.raises(RankError, match="overlaps"):
        bank.mount(block, RankRange(3, 7))
    with pytest.raises(KeyError), bank.serving([{RankRange(4, 8): 1.0}]):
        pass


def test_projections_that_read_one_x_share_its_product(fresh: Callable[[str], BaseModel]) -> None:
    packed = Bank(fresh("llama")).pack(random_block(fresh("llama")))
    assert [a.shape[0] for a in packed.a.values()] == [12, 4, 8, 4] * 2  # q k v, o, gate up, down


def test_a_block_in_use_by_an_outer_context_keeps_its_place(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    one, two = RankRange(0, 4), RankRange(4, 8)
    bank = Bank(base, most_bytes=4 * sum(map(sum, base.shapes.values())) * 4)
    bank.mount(random_block(base, 1), one)
    with bank.serving([{one: 1.0}] * 2):
        said = logits(base)
        with bank.using(None), pytest.raises(RankError, match="in use"):
            bank.mount(random_block(base, 2), two)
        with pytest.raises(RankError, match="in use"):
            bank.evict(one)
        with pytest.raises(RankError, match="in use"):
            bank.mount(random_block(base, 2), one)
        assert torch.equal(logits(base), said)


def test_a_mix_that_is_changed_in_place_is_another_mix(fresh: Callable[[str], BaseModel]) -> None:
    base, at = fresh("llama"), RankRange(0, 4)
    bank, mix = Bank(base), {at: 0.5}
    bank.mount(random_block(base), at)
    with bank.serving([mix] * 2):
        half = logits(base)
    mix[at] = 1.0
    with bank.serving([mix] * 2):
        assert (logits(base) - half).abs().max() > 1e-2


def test_a_rank_that_never_fits_drives_nobody_out(fresh: Callable[[str], BaseModel]) -> None:
    base = fresh("llama")
    bank = Bank(base, most_bytes=4 * sum(map(sum, base.shapes.values())) * 4)
    bank.mount(random_block(base), RankRange(0, 4))
    with pytest.raises(RankError, match="lower rank"):
        bank.mount(random_block(base, rank=5), RankRange(8, 13))
    assert bank.mounted == [RankRange(0, 4)]


def test_a_model_that_flattens_its_rows_serves_mixed_batches_too() -> None:
    """OPT hands (rows * tokens, d_in) to its feed-forward layers."""
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    config = OPTConfig(vocab_size=264, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=2,
                       max_position_embeddings=64, word_embed_proj_dim=32)  # fmt: skip
    model = OPTForCausalLM(config).requires_grad_(False).eval()
    base = BaseModel("opt", "f", model, None, find_projections(model))
    bank, at = Bank(base), [RankRange(0, 4), RankRange(4, 8)]
    for seed, each in enumerate(at):
        bank.mount(random_block(base, seed), each)
    for tokens in (TOKENS, TOKENS[:, :1]):
        with bank.serving([{at[0]: 1.0}, {at[1]: 1.0}], tokens=tokens.shape[1]):
            mixed = logits(base, tokens)
        for row in range(2):
            with bank.serving([{at[row]: 1.0}]):
                torch.testing.assert_close(mixed[row], logits(base, tokens[row : row + 1])[0], atol=1e-4, rtol=0)
    with bank.serving([{at[0]: 1.0}, {at[1]: 1.0}], tokens=5), pytest.raises(BaseError, match="cannot mix"):
        logits(base)
