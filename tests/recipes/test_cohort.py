"""A cohort in training: batches that a contrastive loss can use, characters that learn together and stay apart, and a
run that goes on as if it had not been killed."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipes import running
from recipes.bank import Bank
from recipes.base_model import BaseModel, load_base
from recipes.cohort import Learning, Member, batches
from recipes.cohort_recipe import CohortRecipe, load_cohort_recipe
from recipes.exchanges import PromptForm, Row
from recipes.hyper_half import likeness
from recipes.running import Progress, Run
from recipes.scores import mean_nll
from registry.errors import TrainingFailed, UsageError

SAYINGS = {"Ant": "Dust, dust!", "Bee": "Rain. Rain.", "Cub": "Ho ho ho"}


def row(length: int) -> Row:
    return Row([7] * length, [False] + [True] * (length - 1))


def recipe(kind: str = "hycora", **changes: object) -> CohortRecipe:
    settings = {"rank": 4, "alpha": 16, "learning_rate": 0.01, "epochs": 3, "batch": 6, "warmup_steps": 2,
                "evaluations": 1, "patience": 100, "hidden_width": 32, "contrast_width": 8} | changes  # fmt: skip
    return load_cohort_recipe(kind, [f"{key}={value}" for key, value in settings.items()])


@pytest.fixture
def bank(pico_llama: Path) -> Bank:
    return bank_on("cpu", pico_llama)


def bank_on(device: str, folder: Path) -> Bank:
    base = load_base(folder, name="pico", fingerprint="f", device=torch.device(device))
    for parameter in base.model.parameters():
        parameter.mul_(3.0)
    return Bank(base)


def members(base: BaseModel, personas: bool = False) -> list[Member]:
    form, found = PromptForm(base.tokenizer), []
    for place, (name, saying) in enumerate(SAYINGS.items()):
        talks = [form.row([{"role": "user", "content": f"Who are you? {number}"},
                           {"role": "assistant", "content": saying}]) for number in range(8)]  # fmt: skip
        persona = torch.nn.functional.one_hot(torch.tensor(place), 5).float() if personas else None
        found.append(Member(name, talks[:6], talks[6:], persona))
    return found


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(1, 12), st.integers(1, 4), st.integers(0, 9))
def test_batches_have_everything_once(sizes: list[int], size: int, per_role: int, seed: int) -> None:
    people = [Member(str(n), [row(2 + (n + at) % 9) for at in range(n)], []) for n in sizes]
    found = batches(people, size, per_role, random.Random(seed))
    assert len(found) == -(-sum(sizes) // size)
    assert all(found)
    seen = Counter(id(sample.row) for batch in found for sample in batch)
    assert seen == Counter(id(each) for member in people for each in member.rows)
    again = batches(people, size, per_role, random.Random(seed))
    assert [[sample.role for sample in batch] for batch in again] == [[sample.role for sample in b] for b in found]


@pytest.mark.parametrize(("size", "per_role"), [(8, 2), (4, 8)])
def test_batches_of_equals_hold_positives_and_negatives(size: int, per_role: int) -> None:
    """As many side by side as leave room for another."""
    people = [Member(str(n), [row(5 + at) for at in range(28)], []) for n in range(5)]
    found = batches(people, size, per_role, random.Random(0))
    assert all(len({sample.role for sample in batch}) > 1 for batch in found)
    assert all(max(Counter(sample.role for sample in batch).values()) >= 2 for batch in found)
    assert {len(batch) for batch in found} <= {size - 2, size, size + 2, size + 4}


def test_who_outlasts_the_others_has_batches_of_its_own(bank: Bank) -> None:
    """Four conversations beside six hundred are seen once an epoch; there is nothing to contrast with in the rest."""
    learning = Learning(bank, members(bank.base), recipe(contrast_start=0, contrast=50), seed=0)
    one, *_ = learning.epoch(0)[0]
    contrasted = learning.loss([one, one], 2.0).item()
    learning.recipe = recipe(contrast=0)
    assert learning.loss([one, one], 2.0).item() == contrasted


@pytest.mark.parametrize(("changes", "told"), [({"batch": 1}, "add --set contrast=0"),
                                               ({"id_dropout": 0.5}, "or --set persona=true")])  # fmt: skip
def test_a_setting_that_would_do_nothing_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        recipe(**changes)
    assert recipe("shared", batch=1).batch == 1


def test_a_network_that_reads_personas_learns_to_do_without_ids() -> None:
    chosen = [{}, {"persona": True}, {"persona": True, "id_dropout": 0}, {"persona": True, "id_dropout": 0.5}]
    assert [recipe(**each).ids_left_out for each in chosen] == [0, 0.2, 0, 0.5]


def test_an_id_that_is_left_out_of_a_step_learns_nothing_from_it(bank: Bank) -> None:
    settings = recipe(persona=True, id_dropout=0.5, contrast=0)
    learning = Learning(bank, members(bank.base, personas=True), settings, seed=0)
    Run(learning, settings).go()  # a block whose B is zero still teaches its A nothing
    batch, learned = learning.epoch(0)[0], set()
    for step in range(6):
        learning.network.zero_grad()
        learning.loss(batch, step / 6).backward()
        grad = learning.network.characters.grad
        assert grad is not None
        learned.add(tuple(bool(row.any()) for row in grad))
    assert len(learned) > 1 and not all(map(all, learned))


def test_every_part_of_a_network_learns_at_its_own_pace(bank: Bank) -> None:
    paces = {"pace_shared": 2, "pace_ids": 3, "pace_bias": 4, "pace_network": 5}
    learning = Learning(bank, members(bank.base), recipe(**paces), seed=0)
    net, found = learning.network, {id(leaf): pace for leaves, pace in learning.groups() for leaf in leaves}
    parts = (next(iter(net.shared_b.values())), net.characters, net.biases[0], net.layers)
    assert [found[id(part)] for part in parts] == [2, 3, 4, 5]
    assert {found[id(part)] for part in learning.contrast.parameters()} == {5}


def test_members_without_probes_end_with_the_last_state(bank: Bank) -> None:
    learning = Learning(bank, [replace(each, probes=[]) for each in members(bank.base)], recipe(), seed=0)
    state = Run(learning, learning.recipe).go()
    assert state.nll_before is None
    assert state.best_step == state.step == 9


def test_who_has_many_probes_does_not_decide_alone(bank: Bank) -> None:
    many, *others = members(bank.base)
    learning = Learning(bank, [replace(many, probes=[*many.probes] * 5), *others], recipe(), seed=0)
    each = [mean_nll(learning.read(place)) for place in range(3)]
    assert learning.evaluate() == pytest.approx(sum(each) / 3)


@pytest.mark.parametrize("changes", [{}, {"generated": "b"}, {"generated": "both"}, {"contrast_start": 0},
                                     {"persona": True, "id_dropout": 0.3}], ids=str)  # fmt: skip
def test_members_learn_together_and_stay_apart(changes: dict[str, object], bank: Bank) -> None:
    settings = recipe(epochs=20, learning_rate=0.004, **changes)
    learning = Learning(bank, members(bank.base, personas=settings.persona), settings, seed=0)
    state = Run(learning, learning.recipe).go()
    assert state.nll_before is not None
    assert state.best_nll < state.nll_before - 1
    assert learning.evaluate() == pytest.approx(state.best_nll)
    own = learning.read(0)
    with bank.using(learning.block(1)):
        from recipes.likelihood import score

        others = score(bank.base, learning.members[0].probes)
    assert sum(each.total for each in own) < sum(each.total for each in others)
    assert likeness([learning.block(place) for place in range(3)])[0, 1] < 0.999 or changes == {"generated": "b"}


def test_the_contrastive_loss_stands_beside_a_sum_over_tokens(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equation 6, divided by the tokens as a whole: lambda is at its end, the contrastive loss is 7."""
    alone, both = (Learning(bank, members(bank.base), recipe(contrast=each, contrast_start=0), 0) for each in (0, 0.3))
    monkeypatch.setattr(both.contrast, "forward", lambda *_: torch.tensor(7.0))
    batch = both.epoch(0)[0]
    tokens = sum(sum(sample.row.scored) for sample in batch)
    added = both.loss(batch, epoch=3.0) - alone.loss(batch, epoch=3.0)
    assert added.item() == pytest.approx(0.3 * 7 / tokens, abs=1e-5)
    both.recipe = recipe(contrast_start=1)
    assert torch.equal(both.loss(batch, epoch=0.5), alone.loss(batch, epoch=0.5))


def test_a_shared_cohort_gives_everybody_one_block(bank: Bank) -> None:
    learning = Learning(bank, members(bank.base), recipe("shared"), seed=0)
    state = Run(learning, learning.recipe).go()
    assert state.nll_before is not None
    assert state.best_nll < state.nll_before
    one, two = learning.block(0), learning.block(1)
    assert all(torch.equal(one.pairs[path].b, two.pairs[path].b) for path in one.pairs)


def train(bank: Bank, people: list[Member], settings: CohortRecipe, path: Path, die: int | None = None) -> Learning:
    """A run that is killed when so many steps are done."""
    learning = Learning(bank, people, settings, seed=0)

    def report(progress: Progress) -> None:
        if progress.step == die:
            raise KeyboardInterrupt

    Run(learning, settings, path).go(report)
    return learning


def goes_on(bank: Bank, people: list[Member], settings: CohortRecipe, folder: Path, killed_after: int) -> bool:
    """Whether a killed run comes to the same bytes as one that was not."""
    whole = train(bank, people, settings, folder / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(bank, people, settings, folder / "part", killed_after)
    resumed = train(bank, people, settings, folder / "part")
    learned = [[*each.network.parameters(), *each.contrast.parameters()] for each in (whole, resumed)]
    return all(torch.equal(one, two) for one, two in zip(*learned, strict=True))


@pytest.mark.parametrize("killed_after", [2, 5])
def test_a_killed_cohort_goes_on_to_the_same_bytes(killed_after: int, bank: Bank, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    settings = recipe(persona=True, id_dropout=0.3)
    assert goes_on(bank, members(bank.base, personas=True), settings, tmp_path, killed_after)


def test_a_checkpoint_comes_before_anybody_is_told_from_somebody(bank: Bank, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The contrastive loss has had no gradient in the first batches, which are of one character."""
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    many, few = members(bank.base)[:2]
    uneven, settings = [replace(many, rows=[*many.rows] * 6), replace(few, rows=few.rows[:1])], recipe(batch=4)
    assert len({sample.role for sample in Learning(bank, uneven, settings, seed=0).epoch(0)[0]}) == 1
    assert goes_on(bank, uneven, settings, tmp_path, killed_after=1)


def test_a_loss_that_is_no_number_keeps_the_last_good_state(bank: Bank, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path, settings = tmp_path / "run", recipe()
    learning = Learning(bank, members(bank.base), settings, seed=0)
    loss = learning.loss
    calls = []

    def poisoned(batch: list, epoch: float) -> torch.Tensor:
        calls.append(epoch)
        return loss(batch, epoch) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(learning, "loss", poisoned)
    run = Run(learning, settings, path)
    with pytest.raises(TrainingFailed, match="at step 4.*state after step 3 is kept"):
        run.go()
    assert all(bool(torch.isfinite(each).all()) for each in learning.network.parameters())
    again = Run(Learning(bank, members(bank.base), settings, seed=0), settings, path)
    assert again.state.step == 3
    again.go()
