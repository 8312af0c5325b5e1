"""A newcomer to a cohort: only its embedding moves, a cohort survives the disk, and what is not one is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recipes.bank import Bank
from recipes.cohort import Learning
from recipes.cohort_file import Cohort, load_cohort, save_cohort
from recipes.exchanges import PromptForm
from recipes.expansion import expand
from recipes.hyper import Entry, hyper
from recipes.own_part import completed, own_parts
from recipes.recipe import load_recipe
from recipes.running import Run
from recipes.task import Task
from registry.errors import CohortDamaged
from tests.recipes.test_cohort import bank, bank_on, members, recipe

__all__ = ["bank"]
SHIFT = torch.eye(5)[3]  # a persona nobody has


def cohort(bank: Bank, kind: str = "hycora", **changes: object) -> Cohort:
    settings = recipe(kind, **changes)
    people = members(bank.base, personas=settings.persona)
    learning = Learning(bank, people, settings, seed=0)
    Run(learning, settings).go()
    learning.network.requires_grad_(False)
    return Cohort("founders", 1, learning.network, [each.name for each in people],
                  "encoder@1" if settings.persona else None, learning.personas)  # fmt: skip


def task(bank: Bank, entry: Entry, exchanges: int = 6) -> Task:
    talks = [[{"role": "user", "content": f"Who are you? {number}"}, {"role": "assistant", "content": "Dust. Rain!"}]
             for number in range(exchanges + 2)]  # fmt: skip
    settings = load_recipe("quick", ["learning_rate=0.01", "epochs=8", "batch=4"])
    return Task("Dog", bank, PromptForm(bank.base.tokenizer), settings, talks[2:], talks[:2], 0, entry=entry)


def test_a_newcomer_learns_its_embedding_and_nothing_else(bank: Bank) -> None:
    entry = Entry(cohort(bank), "d")
    before = {name: each.clone() for name, each in entry.cohort.network.state_dict().items()}
    mean, made = hyper(task(bank, entry, 0)), hyper(task(bank, entry))
    assert made.nll_before is not None
    assert mean.nll_after is not None
    assert made.nll_after < mean.nll_after < made.nll_before
    assert all(torch.equal(each, before[name]) for name, each in entry.cohort.network.state_dict().items())
    assert made.details["cohort"] == {"name": "founders", "version": 1, "digest": "d", "from_profile": False}
    shared = entry.cohort.network.materialised(entry.cohort.network.characters[0])
    assert all(torch.equal(pair.b, shared.pairs[path].b) for path, pair in made.block.pairs.items())


def test_a_persona_is_a_start_of_its_own(bank: Bank) -> None:
    found = cohort(bank, persona=True, id_dropout=0.3)
    blocks = [hyper(task(bank, Entry(found, "d", persona), 0)).block for persona in (None, SHIFT, torch.eye(5)[0])]
    path = next(iter(blocks[0].pairs))
    assert len({block.pairs[path].a.sum().item() for block in blocks}) == 3


def test_a_newcomer_starts_from_everybodys_mean_or_from_the_persona_alone(bank: Bank) -> None:
    found = cohort(bank, persona=True)
    assert torch.equal(found.newcomer(), found.network.embeddings(found.personas).mean(0))
    assert torch.equal(found.newcomer(SHIFT), found.network.read(SHIFT))
    told = [hyper(task(bank, Entry(found, "d", persona), talks)).reason for persona, talks in ((SHIFT, 6), (None, 0))]
    assert "learned 128 numbers in" in told[0] and "from its persona" in told[0]
    assert "took the mean of its 3 members as it is" in told[1]


def test_a_newcomer_whom_no_step_served_better_says_so(bank: Bank) -> None:
    still = task(bank, Entry(cohort(bank), "d"))
    made = hyper(replace(still, recipe=load_recipe("quick", ["learning_rate=1e-9", "epochs=1", "batch=4"])))
    assert "took the mean of its 3 members as it is, since none of 2 steps was better" in made.reason


def test_a_network_that_always_had_an_id_gets_everybodys_beside_a_persona(bank: Bank) -> None:
    found = cohort(bank, persona=True, id_dropout=0)
    read = found.network.read(SHIFT)
    assert torch.equal(found.newcomer(SHIFT), read + found.network.characters.mean(0))


def test_a_training_that_starts_from_a_cohorts_block_has_a_recipe_of_its_own(bank: Bank) -> None:
    wanted = task(bank, Entry(cohort(bank, "shared"), "d"))
    wanted = replace(wanted, after_cohort=load_recipe("gentle", ["epochs=2", "batch=3"]))
    assert [expand(each).steps for each in (wanted, replace(wanted, entry=None))] == [2 * 2, 8 * 2]


def test_a_shared_cohort_gives_a_newcomer_everybodys_block(bank: Bank) -> None:
    found = cohort(bank, "shared")
    made = hyper(task(bank, Entry(found, "d")))
    assert made.steps == 0
    assert all(torch.equal(pair.b.t(), found.network.shared_b[found.network.paths[path]])
               for path, pair in made.block.pairs.items())  # fmt: skip


def test_a_cohort_comes_back_from_the_disk(bank: Bank, tmp_path: Path) -> None:
    found, shapes = cohort(bank, persona=True, generated="both"), bank.base.shapes
    save_cohort(found, tmp_path, base_fingerprint="f", shapes=shapes)
    again = load_cohort(tmp_path, base_fingerprint="f", shapes=shapes)
    assert (again.name, again.version, again.members, again.encoder) == (
        "founders",
        1,
        list(found.members),
        "encoder@1",
    )
    one, two = (each.network.materialised(each.newcomer(SHIFT)) for each in (found, again))
    assert all(torch.equal(pair.a, two.pairs[path].a) for path, pair in one.pairs.items())
    assert torch.equal(found.newcomer(), again.newcomer())


def another_format(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": 99}))


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def a_tensor_less(folder: Path) -> None:
    tensors = load_file(folder / "network.safetensors")
    tensors.pop("layers")
    save_file(tensors, folder / "network.safetensors")


def no_number(folder: Path) -> None:
    tensors = load_file(folder / "network.safetensors")
    tensors["layers"][0, 0] = float("nan")
    save_file(tensors, folder / "network.safetensors")


def no_personas(folder: Path) -> None:
    tensors = load_file(folder / "network.safetensors")
    tensors.pop("personas")
    save_file(tensors, folder / "network.safetensors")


def no_network(folder: Path) -> None:
    (folder / "network.safetensors").unlink()


@pytest.mark.parametrize(("fault", "told"), [(another_format, "of format 99"), (no_json, "no readable cohort"),
                                             (a_tensor_less, "no readable cohort"), (no_network, "no readable cohort"),
                                             (no_number, "are no numbers"), (no_personas, "not those of its members")],
                         ids=lambda each: getattr(each, "__name__", ""))  # fmt: skip
def test_what_is_no_cohort_is_refused(fault, told: str, bank: Bank, tmp_path: Path) -> None:
    save_cohort(cohort(bank, persona=True), tmp_path, base_fingerprint="f", shapes=bank.base.shapes)
    fault(tmp_path)
    with pytest.raises(CohortDamaged, match=told):
        load_cohort(tmp_path, base_fingerprint="f", shapes=bank.base.shapes)


def test_a_cohort_of_another_base_is_refused(bank: Bank, tmp_path: Path) -> None:
    save_cohort(cohort(bank), tmp_path, base_fingerprint="f", shapes=bank.base.shapes)
    with pytest.raises(CohortDamaged, match="another base"):
        load_cohort(tmp_path, base_fingerprint="g", shapes=bank.base.shapes)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(
    not torch.cuda.is_available(), reason="runs on a machine with a CUDA card")])])  # fmt: skip
@pytest.mark.parametrize("generated", ["a", "b", "both", "none"])
def test_a_cohort_runs_where_its_base_is(generated: str, device: str, pico_llama: Path, tmp_path: Path) -> None:
    there = bank_on(device, pico_llama)
    settings = recipe(generated=generated, persona=generated != "none", own_epochs=4, contrast_start=0)
    learning = Learning(there, members(there.base, personas=settings.persona), settings, seed=0)
    Run(learning, settings).go()
    learning.network.requires_grad_(False)
    blocks = [each.block for each in completed(learning, own_parts(learning))]
    found = Cohort("founders", 1, learning.network, [each.name for each in learning.members], None, learning.personas)
    save_cohort(found, tmp_path, base_fingerprint="f", shapes=there.base.shapes)
    entry = Entry(load_cohort(tmp_path, base_fingerprint="f", shapes=there.base.shapes), "d", SHIFT)
    entry.cohort.network.to(there.base.device)
    made = [each(task(there, entry)) for each in (hyper, expand)]
    assert all(each.nll_after < each.nll_before for each in made)
    factors = [factor for block in (*blocks, *(each.block for each in made)) for pair in block.pairs.values()
               for factor in pair]  # fmt: skip
    assert {(factor.device.type, factor.dtype) for factor in factors} == {("cpu", torch.float32)}
