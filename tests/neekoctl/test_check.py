"""`neekoctl check` from outside: what it reports where nothing is wrong, the fault kit (each fault caught and named as
what it is), and everywhere people read it."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from neekoctl.checks.checking import check
from neekoctl.checks.scope import Scope
from neekoctl.checks.tolerances import Tolerances
from neekoctl.measuring import answered, confirmed, heldout_messages
from neekoctl.routing import nobodys_vectors, texts_of
from neekoctl.stage import set_stage
from recipes.gate import Scorer
from recipes.gate_fitting import fit
from registry.errors import NothingToCheck
from registry.gates import active_gate, put_gate
from registry.roles import Roles, load_roles
from registry.seals import seal
from registry.store import Registry
from registry.tables import Character, Gate, Probe, Reading
from tests.neekoctl.conftest import NAMES, QUICK
from tests.neekoctl.faults import (
    a_probe,
    change_alpha,
    checked,
    complaints,
    edit_a_probe,
    edit_a_reply,
    edit_the_baseline,
    edit_the_persona,
    edit_the_system_message,
    flip_a_byte,
    lose_a_file,
    overwrite_with,
    row_of,
    swap_folders,
    swap_pointers,
    take_an_alias,
    verdicts,
)
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


# nothing is wrong


def test_where_nothing_changed_every_section_passes(neekoctl, registry: Registry) -> None:
    document = checked(neekoctl)
    assert document["verdict"] == "pass"
    assert (document["checked"], document["left_out"], document["revision"]) == (3, [], 3)
    assert all(row["forgetting"] == 0 and row["replies_identical"] == row["replies"] > 0
               for row in document["characters"])  # fmt: skip
    assert document["gate"]["questions"] == sum(row["questions"] for row in document["characters"]) > 0
    told = verdicts(document)
    assert told.pop("style") == "not checked"  # nothing to compare with before the first check
    assert set(told.values()) == {"pass"}


def test_style_is_compared_from_the_second_check_on(neekoctl, registry: Registry) -> None:
    assert all(row["distinctness"] is None for row in checked(neekoctl)["characters"])
    again = checked(neekoctl)
    assert verdicts(again)["style"] == "pass"
    assert all(row["distinctness"] == row["distinctness_baseline"] != 0 for row in again["characters"])


def test_whoever_loses_a_rival_is_compared_with_the_next(neekoctl, registry: Registry) -> None:
    checked(neekoctl)
    assert neekoctl("remove", "Bee", "--yes").code == 0
    checked(neekoctl)
    rows = checked(neekoctl)["characters"]
    assert [(row["name"], row["distinctness"] is None) for row in rows] == [("Ant", False), ("Cub", False)]


def test_a_rival_that_came_closer_is_a_drift_of_style(neekoctl, registry: Registry) -> None:
    checked(neekoctl)
    with registry.writing() as session:
        for row in session.exec(select(Reading).where(Reading.replies_identical != None)):  # noqa: E711
            own = session.get(Character, row.character_id).block
            row.distinctness = {block: [nats + 50 * (block != own) for nats in each]
                                for block, each in row.distinctness.items()}  # fmt: skip
    document = checked(neekoctl)
    assert verdicts(document)["style"] == "regressed"
    assert "nats a token of distinctness" in document["characters"][0]["complaint"]


def test_style_compares_two_days_that_were_measured_alike(neekoctl, registry: Registry) -> None:
    """The own likelihood of the first check, not of the onboarding: that may have been on another machine."""
    checked(neekoctl)
    with registry.writing() as session:
        for row in session.exec(select(Reading)):
            row.distinctness = {block: [nats + 50 for nats in each] for block, each in row.distinctness.items()}
    rows = checked(neekoctl)["characters"]
    assert all(row["distinctness"] == pytest.approx(row["distinctness_baseline"]) for row in rows)


def test_replies_that_hold_are_confirmed_and_not_written_again(neekoctl, registry: Registry,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from neekoctl.checks import inspecting

    monkeypatch.setattr(inspecting, "answered", lambda *_: pytest.fail("somebody was asked again"))
    document = checked(neekoctl)
    assert all(row["replies_identical"] == row["replies"] > 0 for row in document["characters"])


def test_a_reply_that_the_window_cuts_is_confirmed_as_it_was(registry: Registry) -> None:
    """One pass over a whole reply must not reach beyond the positions that a base has learned."""
    stage = set_stage(registry, registry.banks()[0], say=lambda _: None)
    row = registry.find("Bee")
    said = heldout_messages(row.system_message, [{"role": "user", "content": "dust " * 150}], "dust")
    length = len(stage.form.prompt(said[:-1]))
    stage.base.model.config.max_position_embeddings = length + 3
    mix = stage.mounted(row)
    replies = [reply for reply, _ in answered(stage, mix, [said])]
    assert len(replies[0]) == 3
    assert confirmed(stage, mix, [said], replies) == [True]
    read: list[int] = []
    stage.base.model.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    confirmed(stage, mix, [said], replies)
    assert max(read) <= stage.base.longest


def test_who_seems_to_answer_otherwise_is_asked_as_on_the_first_day(
    neekoctl, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A near tie may fall the other way in a pass of another shape: only the batch of the first day counts."""
    from neekoctl.checks import inspecting

    monkeypatch.setattr(inspecting, "confirmed", lambda stage, mix, probes, replies: [False] * len(probes))
    assert checked(neekoctl)["verdict"] == "pass"


# the fault kit


FAULTS: list[tuple[Callable[[Registry], None], dict[str, str]]] = [
    (flip_a_byte, {"Bee": "adapter_model.safetensors of its block changed"}),
    (change_alpha, {"Bee": "adapter_config.json of its block changed (alpha 32 became 64)"}),
    (lose_a_file, {"Bee": "neeko.json of its block is missing"}),
    (swap_folders, {"Bee": "another block lies in its block's place: that of Cub",
                    "Cub": "another block lies in its block's place: that of Bee"}),
    (swap_pointers, {"Bee": "its record points to another block: that of Cub",
                     "Cub": "its record points to another block: that of Bee"}),
    (edit_a_probe, {"Bee": "a probe was edited in the database"}),
    (edit_the_baseline, {"Bee": "the recorded baseline was edited in the database"}),
    (edit_a_reply, {"Bee": "the recorded baseline was edited in the database"}),
    (take_an_alias, {"Bee": "it no longer answers to Bee"}),
    (edit_the_persona, {"Bee": "its description or environment was edited in the database"}),
    (edit_the_system_message, {"Bee": "its record (name, system message, seed or recipe) was edited in the database"}),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "named"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_a_fault_is_caught_and_named(fault: Callable[[Registry], None], named: dict[str, str], neekoctl,
                                     registry: Registry) -> None:  # fmt: skip
    fault(registry)
    document = checked(neekoctl)
    assert document["verdict"] == verdicts(document)["weights"] == "regressed"
    assert {name: words[0] for name, words in complaints(document, "weights").items()} == named


def test_a_damaged_block_is_for_the_doctor_and_not_for_chat(neekoctl, registry: Registry) -> None:
    flip_a_byte(registry)
    assert neekoctl("check", "--only", "ant").code == 0
    assert neekoctl("doctor").code == 1
    refused = neekoctl("chat", "--as", "bee", "--once", "Hello")
    assert (refused.code, "damaged" in refused.err) == (1, True)


def test_an_edited_baseline_is_not_called_forgetting(neekoctl, registry: Registry) -> None:
    edit_the_baseline(registry)
    document = checked(neekoctl)
    assert (verdicts(document)["likelihood"], verdicts(document)["replies"]) == ("pass", "pass")
    assert document["characters"][1]["forgetting"] is None  # what it was is not known


def test_another_base_is_everybodys_fault(neekoctl, moth: Path, pico_llama: Path, tmp_path: Path, home: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    mine = shutil.copytree(pico_llama, tmp_path / "base")
    monkeypatch.setenv("NEEKOCTL_BASE", str(mine))
    neekoctl("add-character", moth, *QUICK)
    _train_a_step(mine)
    document = checked(neekoctl)
    assert complaints(document, "weights") == {"Moth": ["the base is another model now"]}
    assert verdicts(document)["likelihood"] == "not checked"
    refused = neekoctl("add-character", write_profile(tmp_path, "Bee"), *QUICK)
    assert (refused.code, "fingerprint" in refused.err) == (1, True)


def _train_a_step(folder: Path) -> None:
    """Fine-tune a base for one step, in place."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.arange(3, 20)[None]
    model(input_ids=tokens, labels=tokens).loss.backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    model.save_pretrained(folder)


def test_forgetting_under_the_same_records_is_a_loss_of_likelihood_and_replies(neekoctl, registry: Registry) -> None:
    """What a shared adapter does: the block was trained on, and whoever did it sealed the registry anew."""
    overwrite_with(registry, "Bee", "Cub")
    document = checked(neekoctl)
    assert verdicts(document)["weights"] == "pass"
    assert list(complaints(document, "likelihood")) == list(complaints(document, "replies")) == ["Bee"]
    row = document["characters"][1]
    assert row["interval"][0] <= row["forgetting"] <= row["interval"][1]
    assert row["flips"][0].keys() == {"question", "then", "now"}


def test_a_gate_fitted_on_the_newcomer_alone_is_named(neekoctl, registry: Registry) -> None:
    texts, cub = texts_of(registry, None, print), registry.find("Cub").id or 0
    everybody = load_roles(registry, texts.provenance)
    rows = everybody.rows(cub)
    alone = Roles(everybody.owners[rows], everybody.kinds[rows], everybody.vectors[rows])
    found, _ = fit(Scorer(alone, nobodys_vectors(registry, texts), "prototypes"))
    put_gate(registry, texts.provenance, {"prototypes": asdict(found)}, {"fitted_on": sorted(alone.everybody)})
    document = checked(neekoctl)
    assert verdicts(document)["gate"] == "regressed"
    assert document["sections"]["gate"]["complaints"][0] == "version 4 was fitted without Ant, Bee"
    assert len(document["sections"]["gate"]["flips"]) == 4  # of six


def test_a_gate_that_no_longer_finds_people_is_caught_by_their_questions(neekoctl, registry: Registry) -> None:
    texts = texts_of(registry, None, print)
    kept = active_gate(registry)
    assert kept is not None
    deaf = {signal: {**each, "nobody": 5.0, "lost": 0.1} for signal, each in kept.settings.items()}
    put_gate(registry, texts.provenance, deaf, kept.evidence)
    with registry.writing() as session:
        for probe in session.exec(select(Probe)):
            owner = session.get(Character, probe.character_id)
            probe.routed = owner.name if owner else None
    document = checked(neekoctl)
    gate = document["sections"]["gate"]
    assert gate["verdict"] == "regressed"
    assert (gate["accuracy_baseline"], gate["accuracy_now"]) == (1.0, 0.0)
    assert gate["p"] == pytest.approx(0.5 ** gate["questions"])
    assert {flip["now"] for flip in gate["flips"]} == {"unknown"}


def test_a_gate_whose_settings_were_edited_is_named(neekoctl, registry: Registry) -> None:
    with registry.writing() as session:
        for row in session.exec(select(Gate)):
            row.settings = {**row.settings, "prototypes": {**row.settings["prototypes"], "nobody": 9.0}}
    gate = checked(neekoctl)["sections"]["gate"]
    assert gate["verdict"] == "regressed"
    assert "the settings of version 3 were edited in the database" in gate["complaints"]


def test_a_gate_that_nobody_can_ask_is_a_regression_and_not_unchecked(neekoctl, registry: Registry) -> None:
    with registry.writing() as session:
        row_of(session, "Bee").encoder = "other@123"
    gate = checked(neekoctl)["sections"]["gate"]
    assert gate["verdict"] == "regressed"
    assert gate["complaints"][0] == "Bee and version 3 were embedded by different encoders"


def test_no_gate_in_use_is_named(neekoctl, registry: Registry) -> None:
    with registry.writing() as session:
        for row in session.exec(select(Gate)):
            row.active = False
    assert "no version of it is in use" in checked(neekoctl)["sections"]["gate"]["complaints"][0]


def test_questions_that_were_never_routed_are_counted(neekoctl, registry: Registry) -> None:
    with registry.writing() as session:
        a_probe(session).routed = None
    gate = checked(neekoctl)["sections"]["gate"]
    assert (gate["unrouted"], gate["questions"]) == (1, 5)
    assert "1 were never routed" in neekoctl("check").out


def test_who_vanished_without_a_revision_is_missed(neekoctl, registry: Registry) -> None:
    with registry.writing() as session:
        row_of(session, "Ant").status = "removed"
    weights = checked(neekoctl)["sections"]["weights"]
    assert (weights["verdict"], weights["common"]) == ("regressed", ["Ant is gone, and no revision tells of it"])


def test_another_tokenizer_is_named_and_not_called_forgetting(neekoctl, registry: Registry,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from recipes.exchanges import PromptForm

    row = PromptForm.row
    monkeypatch.setattr(PromptForm, "row", lambda self, messages, **more: row(self, [
        {**each, "content": each["content"].lower()} for each in messages], **more))  # fmt: skip
    document = checked(neekoctl)
    assert set(complaints(document, "weights")) == set(NAMES)
    assert "tokenizer or chat template is another" in document["characters"][0]["complaint"]
    assert document["sections"]["likelihood"]["complaints"] == []


def test_who_cannot_be_run_is_named_and_the_others_are_judged(neekoctl, registry: Registry,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from neekoctl.checks import inspecting
    from registry.errors import RankError

    measure = inspecting._measure

    def refuse_bee(stage: Any, asked: Any, *more: Any) -> None:
        if asked.found.row.name == "Bee":
            raise RankError("too wide")
        measure(stage, asked, *more)

    monkeypatch.setattr(inspecting, "_measure", refuse_bee)
    document = checked(neekoctl)
    assert complaints(document, "weights") == {"Bee": ["its block cannot be run: too wide"]}
    assert document["characters"][0]["forgetting"] == 0


def test_a_registry_that_is_busy_costs_the_history_alone(neekoctl, registry: Registry,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from neekoctl.checks import checking
    from registry.errors import RegistryBusy

    def busy(*_: Any) -> None:
        raise RegistryBusy("somebody else writes")

    monkeypatch.setattr(checking, "put_readings", busy)
    done = neekoctl("check", "--json")
    assert (done.code, done.document["verdict"], "could not be kept" in done.err) == (0, "pass", True)


def test_whoever_moves_out_during_a_check_is_not_judged(registry: Registry) -> None:
    told: list[str] = []

    def leave(row: Character) -> None:
        if row.name == "Bee":
            registry.remove(row)

    document = check(registry, Scope(), Tolerances(), say=told.append, report=leave)
    assert document["verdict"] == "pass", complaints(document, "gate")
    assert "Bee" not in [row["name"] for row in document["characters"]]
    assert "moved out meanwhile, and not judged: Bee" in told


def test_where_everybody_moves_out_during_a_check_nothing_was_checked(registry: Registry) -> None:
    with pytest.raises(NothingToCheck, match="moved out meanwhile"):
        check(registry, Scope(only=["Bee"]), Tolerances(), say=lambda _: None, report=registry.remove)


def test_a_check_that_checked_nothing_is_an_error(neekoctl) -> None:
    assert neekoctl("check").code == 1


def test_another_machine_is_judged_by_likelihood(neekoctl, registry: Registry) -> None:
    with registry.writing() as session:
        row = row_of(session, "Bee")
        row.environment = {**row.environment, "torch": "0.0"}
        probes = session.exec(select(Probe).where(Probe.character_id == row.id).order_by(Probe.position)).all()
        for probe in probes:
            probe.reply = [1, 2, 3]
        row.seal = seal(row, probes, registry.blocks)
    row = checked(neekoctl, "--only", "Bee")["characters"][0]
    assert (row["same_environment"], row["replies_identical"], row["regressed"]) == (False, 0, False)
    assert row["elsewhere"][0].startswith("torch 0.0 then")
