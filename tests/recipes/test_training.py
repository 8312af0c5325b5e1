"""Training one block: only its factors move, the same seed gives the same bytes, a killed run goes on as if it had not
been, and what comes back is the best state seen."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recipes import running, training
from recipes.bank import Bank
from recipes.base_model import BaseModel, best_device, load_base
from recipes.block import Block, Pair, fresh_block
from recipes.exchanges import PromptForm, Row
from recipes.likelihood import Said, score
from recipes.recipe import Recipe, load_recipe
from recipes.running import Progress, Report, Run, State
from recipes.scores import mean_nll
from recipes.training import Fresh, Trained, train
from registry.errors import TrainingFailed

CPU = torch.device("cpu")
QUESTIONS = ["Who are you?", "What do you fear?", "Do you sing?", "Where do you sleep, and for how long?", "Dust?"]


def recipe(**changes: object) -> Recipe:
    settings = {"rank": 4, "alpha": 16, "learning_rate": 0.02, "epochs": 3, "batch": 2, "warmup_steps": 2,
                "evaluations": 1, "patience": 100} | changes  # fmt: skip
    return load_recipe("quick", [f"{key}={value}" for key, value in settings.items()])


def talks(base: BaseModel, reply: str, count: int = 8) -> list[Row]:
    form = PromptForm(base.tokenizer)
    questions = [f"{QUESTIONS[index % 5]} {index}" for index in range(count)]
    return [
        form.row([{"role": "user", "content": question}, {"role": "assistant", "content": reply + "!" * (index % 3)}])
        for index, question in enumerate(questions)
    ]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A pico model has nothing to share out, and idle threads that spin cost seconds on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pico(folder: Path, device: torch.device) -> BaseModel:
    """The pico Llama with weights large enough to be steered by its layers: it learns within a dozen steps."""
    base = load_base(folder, name="pico", fingerprint="f", device=device)
    for parameter in base.model.parameters():
        parameter.mul_(3.0)
    return base


@pytest.fixture
def bank(pico_llama: Path) -> Bank:
    return Bank(pico(pico_llama, CPU))


def fresh(bank: Bank, seed: int = 0) -> Block:
    return fresh_block(bank.base.shapes, 4, 16.0, seed)


def run(bank: Bank, *, seed: int = 0, settings: Recipe | None = None, heldout: str | None = "Dust, dust!",
        report: Report = lambda _: None, checkpoint: Path | None = None) -> Trained:  # fmt: skip
    """Train on rows that repeat themselves; `heldout` is the reply of two held-out rows."""
    rows = talks(bank.base, "Dust, dust!")
    kept = talks(bank.base, heldout, 2) if heldout else []
    return train(bank, fresh(bank, seed), rows, kept, settings or recipe(), seed=seed, report=report,
                 checkpoint=checkpoint)  # fmt: skip


def same(one: Block, two: Block) -> bool:
    return one.pairs.keys() == two.pairs.keys() and all(
        torch.equal(mine, its) for path in one.pairs for mine, its in zip(one.pairs[path], two.pairs[path], strict=True)
    )


def test_the_loss_falls_and_the_held_out_replies_become_likelier(bank: Bank) -> None:
    seen: list[Progress] = []
    done = run(bank, report=seen.append)
    assert [each.step for each in seen] == list(range(1, 13))
    assert {each.steps for each in seen} == {12}
    assert seen[-1].loss < 0.7 * seen[0].loss
    assert done.nll_before is not None and done.nll_after is not None
    assert done.nll_after < 0.7 * done.nll_before
    assert done.steps == 12
    assert all(each.tokens_per_second > 0 for each in seen)


def test_the_returned_block_has_the_likelihood_that_is_reported(bank: Bank) -> None:
    done = run(bank)
    kept = talks(bank.base, "Dust, dust!", 2)
    assert mean_nll(score(bank.base, kept)) == done.nll_before
    with bank.using(done.block):
        assert mean_nll(score(bank.base, kept)) == done.nll_after


def test_nothing_moves_but_the_fresh_block(bank: Bank) -> None:
    start, neighbour = fresh(bank), fresh(bank, seed=9)
    others = [factor for block in (start, neighbour) for pair in block.pairs.values() for factor in pair]
    weights = dict(bank.base.model.named_parameters()) | dict(bank.base.model.named_buffers())
    before = [tensor.clone() for tensor in [*others, *weights.values()]]
    with bank.using(neighbour):
        done = train(bank, start, talks(bank.base, "Dust!"), [], recipe(), seed=0)
    assert all(torch.equal(tensor, kept) for tensor, kept in zip([*others, *weights.values()], before, strict=True))
    assert all(tensor.grad is None for tensor in [*others, *weights.values()])
    assert not same(done.block, start)
    assert not any(factor.requires_grad for pair in done.block.pairs.values() for factor in pair)


def test_what_was_in_use_comes_back_even_after_a_failure(bank: Bank) -> None:
    def stop(_progress: Progress) -> None:
        raise KeyboardInterrupt

    tokens = torch.tensor([[5, 6, 7]])
    before = bank.base.model(input_ids=tokens).logits
    with pytest.raises(KeyboardInterrupt):
        run(bank, report=stop)
    assert torch.equal(bank.base.model(input_ids=tokens).logits, before)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(bank: Bank) -> None:
    one, again, other = run(bank, seed=1), run(bank, seed=1), run(bank, seed=2)
    assert same(one.block, again.block)
    assert (one.nll_after, one.best_step) == (again.nll_after, again.best_step)
    assert not same(one.block, other.block)


def test_the_seed_decides_the_order_of_the_rows(bank: Bank) -> None:
    rows, settings = talks(bank.base, "Dust!"), recipe(epochs=1)
    one, two = (train(bank, fresh(bank), rows, [], settings, seed=seed) for seed in (1, 2))
    assert not same(one.block, two.block)


def test_every_row_is_seen_once_an_epoch_in_an_order_that_changes(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = talks(bank.base, "Dust!", 7)
    batches: list[list[Row]] = []
    logits = training.reply_logits

    def noting(base: BaseModel, batch: list[Row]) -> Said:
        batches.append(list(batch))
        return logits(base, batch)

    monkeypatch.setattr(training, "reply_logits", noting)
    train(bank, fresh(bank), rows, [], recipe(epochs=2), seed=0)
    assert [len(batch) for batch in batches].count(2) == 6
    first, second = ([row for batch in part for row in batch] for part in (batches[:4], batches[4:]))
    for order in (first, second):
        assert sorted(row.tokens for row in order) == sorted(row.tokens for row in rows)
    assert first != second


def test_a_step_is_adamws_on_the_mean_loss_of_the_reply_tokens(bank: Bank, pico_llama: Path) -> None:
    """One batch, one step, against torch's own AdamW over PEFT-like merged weights and full logits."""
    settings = recipe(epochs=1, batch=4, warmup_steps=0, learning_rate=0.01, weight_decay=1.0, clip=0.05)
    rows, start = talks(bank.base, "Dust!", 4), fresh(bank)
    start = replace(start, pairs={path: Pair(pair.a, pair.b + 0.01) for path, pair in start.pairs.items()})
    done = train(bank, start, rows, [], settings, seed=0)

    plain = pico(pico_llama, CPU).model
    leaves = {path: [factor.clone().requires_grad_() for factor in pair] for path, pair in start.pairs.items()}
    merged = {f"{path}.weight": plain.get_submodule(path).weight + start.scale * b @ a
              for path, (a, b) in leaves.items()}  # fmt: skip
    losses = []
    for row in rows:
        out = torch.func.functional_call(plain, merged, kwargs={"input_ids": torch.tensor([row.tokens])}).logits[0]
        chances = out.log_softmax(-1)
        losses += [-chances[place - 1, row.tokens[place]] for place, scored in enumerate(row.scored) if scored]
    torch.stack(losses).mean().backward()
    flat = [factor for pair in leaves.values() for factor in pair]
    optimizer = torch.optim.AdamW(flat, lr=0.01, weight_decay=1.0)
    assert torch.nn.utils.clip_grad_norm_(flat, 0.05) > 0.05
    optimizer.step()
    assert leaves.keys() == done.block.pairs.keys()
    for path, pair in leaves.items():
        for ours, theirs in zip(done.block.pairs[path], pair, strict=True):
            torch.testing.assert_close(ours, theirs.detach(), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("killed_after", [1, 4, 7, 12])
def test_a_killed_run_goes_on_to_the_same_bytes(
    killed_after: int, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within an epoch, at its end, in the next one, and after the last step."""
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    checkpoint = tmp_path / "checkpoints" / "run.safetensors"

    def kill(progress: Progress) -> None:
        if progress.step == killed_after:
            raise KeyboardInterrupt

    whole = run(bank)
    with pytest.raises(KeyboardInterrupt):
        run(bank, report=kill, checkpoint=checkpoint)
    seen: list[Progress] = []
    resumed = run(bank, report=seen.append, checkpoint=checkpoint)
    assert [each.step for each in seen] == list(range(killed_after + 1, 13))
    assert same(resumed.block, whole.block)
    assert (resumed.nll_after, resumed.steps, resumed.best_step) == (whole.nll_after, 12, whole.best_step)


def test_a_resumed_run_reports_the_likelihood_before_its_first_step(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    checkpoint = tmp_path / "run.safetensors"

    def kill(progress: Progress) -> None:
        if progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(bank, report=kill, checkpoint=checkpoint)
    assert run(bank, checkpoint=checkpoint).nll_before == run(bank).nll_before


def test_a_killed_run_goes_on_without_anything_held_out(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)

    def kill(progress: Progress) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    whole = run(bank, heldout=None)
    with pytest.raises(KeyboardInterrupt):
        run(bank, heldout=None, report=kill, checkpoint=tmp_path / "run.safetensors")
    assert same(run(bank, heldout=None, checkpoint=tmp_path / "run.safetensors").block, whole.block)


def test_a_run_that_had_stopped_early_stays_stopped(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    settings, other = recipe(epochs=10, patience=2), "Zq, dust?"
    first = run(bank, settings=settings, heldout=other, checkpoint=tmp_path / "run.safetensors")
    seen: list[Progress] = []
    again = run(bank, settings=settings, heldout=other, report=seen.append, checkpoint=tmp_path / "run.safetensors")
    assert first.steps < 40
    assert seen == []
    assert same(again.block, first.block)
    assert (again.steps, again.best_step, again.nll_after) == (first.steps, first.best_step, first.nll_after)


def test_checkpoints_wait_for_their_time_and_leave_no_partial_file(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(bank, checkpoint=tmp_path / "late.safetensors")
    assert list(tmp_path.glob("late*")) == []  # the run is over long before the first is due
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    run(bank, checkpoint=tmp_path / "soon.safetensors")
    assert [path.name for path in tmp_path.glob("soon*")] == ["soon.safetensors"]


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    path.write_bytes(b"not tensors" * 99)


def without_state(path: Path) -> None:
    from safetensors.torch import save_file

    tensors = load_file(path)
    save_file(tensors, path.with_name("fresh"))
    path.with_name("fresh").replace(path)


def with_a_state_of_another_version(path: Path) -> None:
    from safetensors.torch import save_file

    tensors = load_file(path)
    save_file(tensors, path.with_name("fresh"), metadata={"state": json.dumps({"step": 3, "stage": "late"})})
    path.with_name("fresh").replace(path)


def with_a_tensor_missing(path: Path) -> None:
    from safetensors.torch import save_file

    tensors = load_file(path)
    del tensors["3.exp_avg"]
    state = json.dumps({"step": 3, "best_nll": 1.0})
    save_file(tensors, path.with_name("fresh"), metadata={"state": state})
    path.with_name("fresh").replace(path)


@pytest.mark.parametrize(
    "spoil",
    [truncated, emptied, garbled, without_state, with_a_state_of_another_version, with_a_tensor_missing],
)
def test_a_spoiled_checkpoint_is_no_checkpoint(
    spoil: Callable[[Path], None], bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    checkpoint, settings = tmp_path / "run.safetensors", recipe(epochs=1)
    whole = run(bank, settings=settings)
    run(bank, settings=settings, checkpoint=checkpoint)
    spoil(checkpoint)
    seen: list[Progress] = []
    again = run(bank, settings=settings, report=seen.append, checkpoint=checkpoint)
    assert [each.step for each in seen] == [1, 2, 3, 4]
    assert same(again.block, whole.block)


def test_stopping_early_keeps_the_best_state(bank: Bank) -> None:
    seen: list[Progress] = []
    done = run(bank, settings=recipe(epochs=10, patience=2), heldout="Zq, dust?", report=seen.append)
    assert done.nll_before is not None and done.nll_after is not None
    evaluated = {0: done.nll_before} | {each.step: each.heldout_nll for each in seen if each.step % 4 == 0}
    assert done.steps == seen[-1].step == done.best_step + 2 * 4
    assert 0 < done.best_step < done.steps < 40
    assert done.best_step == min(evaluated, key=lambda step: evaluated[step] or 0.0)
    assert done.nll_after == evaluated[done.best_step]
    with bank.using(done.block):
        assert mean_nll(score(bank.base, talks(bank.base, "Zq, dust?", 2))) == done.nll_after


def test_a_block_that_never_improves_is_left_as_it_was(bank: Bank) -> None:
    """Trained from a state that is already good on what is held out, towards something else."""
    good = run(bank, heldout=None).block
    done = train(bank, good, talks(bank.base, "Zq zq zq?"), talks(bank.base, "Dust, dust!", 2),
                 recipe(learning_rate=0.1, patience=1), seed=0)  # fmt: skip
    assert (done.best_step, done.nll_after) == (0, done.nll_before)
    assert done.steps == 4
    assert same(done.block, good)


def test_without_held_out_rows_the_last_state_comes_back(bank: Bank) -> None:
    done = run(bank, heldout=None)
    assert (done.nll_before, done.nll_after, done.steps) == (None, None, 12)
    longer = run(bank, heldout=None, settings=recipe(epochs=4))
    assert not same(done.block, longer.block)


@pytest.mark.parametrize("heldout", [None, "Dust!"])
def test_a_loss_that_is_no_number_fails_and_says_what_to_set(heldout: str | None, bank: Bank) -> None:
    kept = talks(bank.base, heldout, 2) if heldout else []
    start = fresh(bank)
    start.pairs["model.layers.0.mlp.up_proj"].b.fill_(float("nan"))
    with pytest.raises(TrainingFailed, match=r"loss is nan at step 1.*--set learning_rate=0\.007`"):
        train(bank, start, talks(bank.base, "Dust!"), kept, recipe(), seed=0)


def test_evaluations_are_spread_over_an_epoch(bank: Bank) -> None:
    seen: list[Progress] = []
    run(bank, settings=recipe(epochs=1, batch=1, evaluations=4), report=seen.append)
    changes = [
        each.step for before, each in zip(seen, seen[1:], strict=False) if each.heldout_nll != before.heldout_nll
    ]
    assert changes == [2, 4, 6, 8]


@pytest.mark.parametrize(("warmup", "expected"), [(0, [1, 0.75, 0.5, 0.25]), (2, [0.5, 1, 1, 0.5]),
                                                  (50, [0.5, 1, 1, 0.5])])  # fmt: skip
def test_the_step_size_warms_up_and_decays(warmup: int, expected: list[float], bank: Bank) -> None:
    settings = recipe(epochs=1, warmup_steps=warmup)
    each = Run(Fresh(bank, fresh(bank), talks(bank.base, "Dust!"), [], settings.batch, 0), settings)
    assert [each.schedule(step) for step in range(each.steps)] == expected


def test_state_survives_json() -> None:
    from dataclasses import asdict

    assert State(**json.loads(json.dumps(asdict(State())))) == State()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="runs on a machine with a CUDA card")
def test_on_a_card_the_base_runs_in_bf16_and_the_block_trains(pico_llama: Path, tmp_path: Path) -> None:
    bank = Bank(pico(pico_llama, best_device()))
    assert (bank.base.device.type, bank.base.dtype) == ("cuda", torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in bank.base.model.named_parameters()}
    done = run(bank)
    assert done.nll_before is not None and done.nll_after is not None
    assert done.nll_after < 0.7 * done.nll_before
    assert all(torch.equal(tensor, before[name]) for name, tensor in bank.base.model.named_parameters())
    assert {factor.dtype for pair in done.block.pairs.values() for factor in pair} == {torch.float32}

    rows = talks(bank.base, "Dust, dust!")
    on_cpu = Bank(pico(pico_llama, CPU))
    with bank.using(done.block), on_cpu.using(done.block):
        card = torch.tensor([each.nll for each in score(bank.base, rows)])
        cpu = torch.tensor([each.nll for each in score(on_cpu.base, rows)])
    torch.testing.assert_close(card, cpu, atol=0.05, rtol=0.05)  # bf16 keeps eight bits
