"""`neekoctl check` from outside: what it reports where nothing is wrong, the fault kit (each fault caught and named as
what it is), and everywhere people read it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlmodel import Session, select

from neekoctl.routing import nobodys_vectors, texts_of
from recipes.gate import Scorer
from recipes.gate_fitting import fit
from registry.gates import active_gate, put_gate
from registry.roles import Roles, load_roles
from registry.seals import seal
from registry.store import Registry
from registry.tables import Character, Probe
from tests.neekoctl.conftest import NAMES, QUICK
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


def checked(neekoctl: Any, *options: object) -> dict[str, Any]:
    """The document of a check that ended as its verdict says."""
    done = neekoctl("check", *options, "--json")
    document: dict[str, Any] = done.document
    assert done.code == (3 if document["verdict"] == "regressed" else 0)
    return document


def complaints(document: dict[str, Any], section: str) -> dict[str, list[str]]:
    """Who is complained of in a section, and how."""
    return {row["name"]: row["complaints"][section] for row in document["characters"] if row["complaints"][section]}


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {name: section["verdict"] for name, section in document["sections"].items()}


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


def test_a_rival_that_came_closer_is_a_drift_of_style(neekoctl, registry: Registry) -> None:
    from registry.tables import Reading

    checked(neekoctl)
    with registry.writing() as session:
        for row in session.exec(select(Reading).where(Reading.replies_identical != None)):  # noqa: E711
            row.distinctness = {block: [nats + 50 for nats in each] for block, each in row.distinctness.items()}
    document = checked(neekoctl)
    assert verdicts(document)["style"] == "regressed"
    assert "nats a token of distinctness" in document["characters"][0]["complaint"]


def test_replies_that_hold_are_confirmed_and_not_written_again(neekoctl, registry: Registry,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from neekoctl.checks import inspecting

    monkeypatch.setattr(inspecting, "answered", lambda *_: pytest.fail("somebody was asked again"))
    document = checked(neekoctl)
    assert all(row["replies_identical"] == row["replies"] > 0 for row in document["characters"])


def test_who_seems_to_answer_otherwise_is_asked_as_on_the_first_day(
    neekoctl, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A near tie may fall the other way in a pass of another shape: only the batch of the first day counts."""
    from neekoctl.checks import inspecting

    monkeypatch.setattr(inspecting, "confirmed", lambda stage, mix, probes, replies: [False] * len(probes))
    assert checked(neekoctl)["verdict"] == "pass"


# the fault kit


def flip_a_byte(registry: Registry) -> None:
    path = registry.blocks.path(registry.find("Bee").block or "") / "adapter_model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def change_alpha(registry: Registry) -> None:
    path = registry.blocks.path(registry.find("Bee").block or "") / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))


def lose_a_file(registry: Registry) -> None:
    (registry.blocks.path(registry.find("Bee").block or "") / "neeko.json").unlink()


def swap_folders(registry: Registry) -> None:
    one, two = (registry.blocks.path(registry.find(name).block or "") for name in ("Bee", "Cub"))
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def swap_pointers(registry: Registry) -> None:
    with registry.writing() as session:
        bee, cub = (_row(session, name) for name in ("Bee", "Cub"))
        bee.block, cub.block = cub.block, bee.block


def edit_a_probe(registry: Registry) -> None:
    with registry.writing() as session:
        _probe(session).reference = "Bee says rain, rain!"


def edit_the_baseline(registry: Registry) -> None:
    with registry.writing() as session:
        _probe(session).nll += 0.5


def edit_a_reply(registry: Registry) -> None:
    with registry.writing() as session:
        _probe(session).reply = [1, 2, 3]


def edit_the_system_message(registry: Registry) -> None:
    with registry.writing() as session:
        _row(session, "Bee").system_message = "You are somebody else."


def _row(session: Session, name: str) -> Character:
    return session.exec(select(Character).where(Character.name == name)).one()


def _probe(session: Session) -> Probe:
    row = _row(session, "Bee")
    return session.exec(select(Probe).where(Probe.character_id == row.id)).all()[0]


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
    assert document["characters"][1]["forgetting"] < 0  # the figure is told all the same


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
    _overwrite_with(registry, "Bee", "Cub")
    document = checked(neekoctl)
    assert verdicts(document)["weights"] == "pass"
    assert list(complaints(document, "likelihood")) == list(complaints(document, "replies")) == ["Bee"]
    row = document["characters"][1]
    assert row["interval"][0] <= row["forgetting"] <= row["interval"][1]
    assert row["flips"][0].keys() == {"question", "then", "now"}


def _overwrite_with(registry: Registry, name: str, other: str) -> None:
    """Let a character answer with another's block, seal and all."""
    probes = registry.probes(registry.find(name))
    with registry.writing() as session:
        row = _row(session, name)
        row.block = _row(session, other).block
        row.seal = seal(row, probes, registry.blocks)


def test_a_gate_fitted_on_the_newcomer_alone_is_named(neekoctl, registry: Registry) -> None:
    texts, cub = texts_of(registry, None, print), registry.find("Cub").id or 0
    everybody = load_roles(registry, texts.provenance)
    rows = everybody.rows(cub)
    alone = Roles(everybody.owners[rows], everybody.kinds[rows], everybody.vectors[rows])
    found, _ = fit(Scorer(alone, nobodys_vectors(registry, texts), "prototypes"))
    put_gate(registry, texts.provenance, {"prototypes": asdict(found)}, {"fitted_on": sorted(alone.everybody)})
    document = checked(neekoctl)
    assert verdicts(document)["gate"] == "regressed"
    assert document["sections"]["gate"]["complaints"] == ["version 4 was fitted without Ant, Bee"]
    assert len(document["sections"]["gate"]["flips"]) == 4  # of six: too few for the exact test, and named


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


def test_a_check_that_checked_nothing_is_an_error(neekoctl) -> None:
    assert neekoctl("check").code == 1


def test_another_machine_is_judged_by_likelihood(neekoctl, registry: Registry) -> None:
    with registry.writing() as session:
        row = _row(session, "Bee")
        row.environment = {**row.environment, "torch": "0.0"}
        probes = session.exec(select(Probe).where(Probe.character_id == row.id).order_by(Probe.position)).all()
        for probe in probes:
            probe.reply = [1, 2, 3]
        row.seal = seal(row, probes, registry.blocks)
    row = checked(neekoctl, "--only", "Bee")["characters"][0]
    assert (row["same_environment"], row["replies_identical"], row["regressed"]) == (False, 0, False)
    assert row["elsewhere"][0].startswith("torch 0.0 then")


# whom, and how much is allowed


def test_only_sample_and_changed_since_say_who_was_left_out(neekoctl, registry: Registry) -> None:
    assert checked(neekoctl, "--only", "bee")["left_out"] == ["Ant", "Cub"]
    since = checked(neekoctl, "--changed-since", 2)
    assert ([row["name"] for row in since["characters"]], since["left_out"]) == (["Cub"], ["Ant", "Bee"])
    some = checked(neekoctl, "--sample", 2)
    assert (some["checked"], len(some["left_out"])) == (2, 1)
    assert "Left out" in neekoctl("check", "--only", "bee").out
    assert neekoctl("check", "--changed-since", 3).code == 1  # nobody since: a check of nothing
    assert neekoctl("check", "--changed-since", 99).code == 2
    assert neekoctl("check", "--sample", 0).code == 2


def test_tolerances_come_from_the_file_and_the_option(neekoctl, registry: Registry, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    edit_a_probe(registry)
    monkeypatch.chdir(tmp_path)
    assert checked(neekoctl)["verdict"] == "regressed"
    (tmp_path / "check.yaml").write_text("weights: 1\n")
    assert checked(neekoctl)["verdict"] == "pass"
    assert checked(neekoctl, "--tolerance", "weights=0")["verdict"] == "regressed"
    other = tmp_path / "strict.yaml"
    other.write_text("likelihood: 0\n")
    assert checked(neekoctl, "--config", other)["tolerances"]["likelihood"] == 0


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("weight: 1", "names no measure 'weight'"),
        ("replies: 2", "less than or equal to 1"),
        ("- 1", "no mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_tolerance_is_told_in_a_sentence(written: str, told: str, neekoctl, registry: Registry,
                                                 tmp_path: Path) -> None:  # fmt: skip
    file = tmp_path / "check.yaml"
    file.write_text(written)
    done = neekoctl("check", "--config", file)
    assert (done.code, told in done.err) == (2, True)
    assert neekoctl("check", "--tolerance", "likelihood").code == 2


# where people read it


def test_the_terminal_shows_sections_and_complaints(neekoctl, registry: Registry) -> None:
    change_alpha(registry)
    told = neekoctl("check").out
    assert "weights     regressed" in told
    assert "alpha 32 became 64" in told
    assert "exact McNemar" in told


def test_junit_has_a_suite_a_section_and_a_case_a_character(neekoctl, registry: Registry, tmp_path: Path) -> None:
    flip_a_byte(registry)
    path = tmp_path / "reports" / "check.xml"
    neekoctl("check", "--junit", path)
    root = ElementTree.parse(path).getroot()
    suites = {suite.get("name"): suite for suite in root.iter("testsuite")}
    assert list(suites) == [f"neekoctl.{name}" for name in ("weights", "likelihood", "replies", "gate", "style")]
    failed = [
        case.get("name") for case in suites["neekoctl.weights"].iter("testcase") if case.find("failure") is not None
    ]
    assert failed == ["Bee"]
    assert [case.get("name") for case in suites["neekoctl.gate"].iter("testcase")] == [*NAMES, "everybody"]
    assert root.get("failures") == "1"


def test_github_gets_annotations_and_a_summary(neekoctl, registry: Registry, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    flip_a_byte(registry)
    done = neekoctl("check", "--github", "--json")
    assert done.document["verdict"] == "regressed"  # stdout stays one document
    errors = [line for line in done.err.splitlines() if line.startswith("::error title=neekoctl weights::")]
    assert errors == ["::error title=neekoctl weights::Bee: adapter_model.safetensors of its block changed"]
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("## ❌ neekoctl check: regressed")
    assert r"adapter\_model.safetensors" in summary


def test_the_page_needs_no_network_and_escapes_what_people_wrote(neekoctl, registry: Registry, tmp_path: Path) -> None:
    with registry.writing() as session:
        _row(session, "Bee").name = "<b>Bee</b>"
    page = tmp_path / "check.html"
    neekoctl("check", "--html", page)
    text = page.read_text()
    assert "&lt;b&gt;Bee&lt;/b&gt;" in text
    assert "<td><b>Bee" not in text
    assert 'src="http' not in text


# which onboarding changed whom


def test_history_has_a_column_a_revision_and_tells_who_changed(neekoctl, registry: Registry, tmp_path: Path) -> None:
    document = neekoctl("history", "--json").document
    assert [row["name"] for row in document["characters"]] == list(NAMES)
    assert document["characters"][0]["change"] == [0.0, 0.0, 0.0]  # its own day, and two certificates
    assert document["characters"][2]["change"] == [None, None, 0.0]
    _overwrite_with(registry, "Bee", "Cub")
    neekoctl("remove", "Ant", "--yes")
    checked(neekoctl)
    after = neekoctl("history", "--json").document
    bee = after["characters"][0]
    assert (bee["name"], bee["worst"]) == ("Bee", 4)
    assert bee["forgetting"] == bee["change"][-1] > 0
    assert after["forgetting"] == pytest.approx(bee["forgetting"] / 2)
    assert after["backward_transfer"] == -bee["forgetting"]  # the newest is not counted
    page = tmp_path / "pages" / "history.html"
    assert "Bee" in neekoctl("history", "--html", page).out
    assert "Which onboarding changed whom" in page.read_text()


def test_an_empty_history_says_so(neekoctl) -> None:
    assert "Nobody lives here" in neekoctl("history").out
