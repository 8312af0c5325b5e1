"""The gate through the command line: routed, chatted with, reported on, rebuilt. The pico encoder knows no meaning, so
what is decided by words alone is tried on the real one; here names decide and everything else must hold together."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import update

from neekoctl.hosting import Host
from neekoctl.routing import Router, texts_of
from neekoctl.stage import canonical
from recipes.gate import Decision
from recipes.sources import DEFAULT_BASE
from registry.gates import active_gate, encoder_in_use, probes_of_everybody, prototypes_of
from registry.store import Registry
from registry.tables import Character
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
QUICK = ("--preset", "quick")


@pytest.fixture
def two(neekoctl, pico_environment: None, tmp_path: Path) -> None:
    for name, aliases in (("Ant", ("Formica",)), ("Bee", ())):
        assert neekoctl("add-character", write_profile(tmp_path, name, aliases), *QUICK).code == 0


@pytest.mark.usefixtures("two")
def test_route_answers_with_the_promised_document(neekoctl) -> None:
    document = neekoctl("route", "Answer as FORMICA, please", "--json").document
    assert (document["decision"], document["character"]) == ("match", "Ant")
    assert document["candidates"] == [{"character": "Ant", "score": 1.0, "probability": 1.0}]
    document = neekoctl("route", "Ant, Bee: who sings?", "--json").document
    assert (document["decision"], document["character"]) == ("ambiguous", None)
    assert {each["character"] for each in document["candidates"]} == {"Ant", "Bee"}
    assert neekoctl("route", "Answer as Napoleon", "--json").document["decision"] == "unknown"
    assert "Ant" in neekoctl("route", "hello ant").out
    for signal in ("prototypes", "similarity"):
        assert neekoctl("route", "Where do you sleep?", "--gate", signal, "--json").document["candidates"]


@pytest.mark.usefixtures("two")
def test_an_onboarding_stores_prototypes_that_are_no_probes_and_a_version(neekoctl, registry: Registry) -> None:
    kept = prototypes_of(registry, registry.find("Ant"))
    prompts = {each.text for each in kept if each.kind == "prompt"}
    probes = {probe.prompt[-1]["content"] for probe, _ in probes_of_everybody(registry)}
    assert prompts
    assert not prompts & probes
    assert kept[0].kind == "persona"
    assert kept[0].vector == registry.find("Ant").role_embedding
    assert all(probe.vector for probe, _ in probes_of_everybody(registry))
    assert {probe.routed for probe, _ in probes_of_everybody(registry)} <= {"Ant", "Bee", "ambiguous", "unknown"}
    version = active_gate(registry)
    assert version is not None
    assert set(version.settings) == {"prototypes", "similarity"}


@pytest.mark.usefixtures("two")
def test_a_newcomer_touches_nobody_elses_prototypes(neekoctl, registry: Registry, tmp_path: Path) -> None:
    before = [each.vector for each in prototypes_of(registry, registry.find("Ant"))]
    document = neekoctl("add-character", write_profile(tmp_path, "Cat"), *QUICK, "--json").document
    assert [each.vector for each in prototypes_of(registry, registry.find("Ant"))] == before
    assert document["gate"]["questions"] == len([1 for _, owner in probes_of_everybody(registry) if owner != "Cat"])


@pytest.mark.usefixtures("two")
def test_a_gate_that_finds_residents_less_often_is_not_put_in_use_unless_accepted(
    neekoctl, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = active_gate(registry)
    assert version is not None
    monkeypatch.setattr("neekoctl.gating._first_routed", lambda _: 2.0)
    done = neekoctl("add-character", write_profile(tmp_path, "Cat"), *QUICK, "--json")
    assert (done.code, done.document["gate"]["kept"], "--accept-gate" in done.err) == (0, True, True)
    assert active_gate(registry) == version
    assert all(probe.routed_by == version.version for probe, owner in probes_of_everybody(registry) if owner == "Cat")
    taken = neekoctl("add-character", write_profile(tmp_path, "Dog"), *QUICK, "--accept-gate", "--json")
    assert taken.document["gate"]["kept"] is False
    now = active_gate(registry)
    assert now is not None
    assert now.version == (version.version or 0) + 1


@pytest.mark.usefixtures("two")
def test_chat_without_a_name_asks_lets_answer_and_hands_over(neekoctl) -> None:
    who = neekoctl("chat", "--once", "Ant or Bee, who sings?", "--max-new-tokens", 4, "--json").document
    assert (who["character"], who["decision"]) == (None, "ambiguous")
    assert who["reply"].startswith("Who is meant: ")
    done = neekoctl("chat", "--once", "Bee, do you sing?", "--max-new-tokens", 4, "--json").document
    assert (done["character"], done["decision"]) == ("Bee", "match")
    strange = neekoctl("chat", "--once", "Answer as Napoleon.", "--max-new-tokens", 4, "--json").document
    assert (strange["character"], strange["decision"]) == (None, "unknown")
    piped = neekoctl("chat", "--max-new-tokens", 4, stdin="Ant, Bee: hello!\nBee, please\nAnt, and you?\n")
    assert piped.code == 0
    assert "Who is meant: Ant or Bee?" in piped.out
    assert piped.err.index("Bee answers") < piped.err.index("Ant answers")


@pytest.fixture
def host(two: object, registry: Registry) -> Host:
    """A conversation with both of them."""
    return Host(registry, Router(registry, texts_of(registry, None, lambda _: None)), None, lambda _: None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Bee, please", "Ant, Bee: hello!"),
        ("I meant Bee", "Ant, Bee: hello!"),
        ("Let Bee answer.", "Ant, Bee: hello!"),
        ("I'd like Bee", "Ant, Bee: hello!"),
        ("Bee, how old are you?", ""),
    ],
)
def test_only_an_answer_to_who_is_meant_brings_the_question_back(answer: str, said: str, host: Host) -> None:
    assert host.turn("Ant, Bee: hello!")[0] is None
    conversation, text = host.turn(answer)
    assert (conversation.speaker.name, text) == ("Bee", said or answer)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("text", ["\U0001fa77", "\u200b", "caf\udce9"], ids=["new-emoji", "no-width", "broken-byte"])
def test_what_cannot_be_shown_is_routed_all_the_same(text: str, neekoctl) -> None:
    assert neekoctl("route", text, "--json").document["decision"] in ("match", "ambiguous", "unknown")
    assert neekoctl("chat", "--as", "Ant", "--once", text, "--max-new-tokens", 2).code == 0


def test_a_question_to_nobody_says_nothing_of_whom_is_meant_next(host: Host) -> None:
    assert host.turn("Bee, hello!")[0].speaker.name == "Bee"
    host.router.route = lambda turns, speaker: Decision("unknown", None, [], "")  # type: ignore[method-assign]
    assert host.turn("What is the weather?")[0].speaker is None
    assert (host.turns, host.speaker.name) == (["Bee, hello!"], "Bee")


def test_a_turn_that_was_taken_back_routes_nobody(host: Host) -> None:
    host.turn("Bee, hello!")
    host.turn("Ant, what do you say?")
    host.take_back()
    assert (host.turns, host.speaker.name) == (["Bee, hello!"], "Bee")
    assert host.turn("Ant, Bee: who sings?")[0] is None
    host.turn("Nonsense about Ant")
    host.take_back()
    assert host.turn("Ant")[1] == "Ant, Bee: who sings?"


def test_a_question_waits_until_somebody_else_is_meant(host: Host) -> None:
    """Whoever spoke before speaks on at "never mind": that is no answer to "who is meant?"."""
    host.turn("Bee, hello!")
    assert host.turn("Ant, Bee: who sings?")[0] is None
    assert host.turn("Ant or Bee")[1] == "Ant or Bee"
    assert host.turn("Ant, Bee: who sings?")[0] is None
    host.router.route = lambda turns, speaker: Decision("match", speaker.id, [], "")  # type: ignore[method-assign]
    assert host.turn("Never mind")[1] == "Never mind"


def test_whoever_is_refused_speaks_no_more(host: Host) -> None:
    host.turn("Bee, hello!")
    host.router.route = lambda turns, speaker: Decision("ambiguous", None, [], "")  # type: ignore[method-assign]
    assert host.turn("I don't want to talk to Bee")[0] is None
    assert host.speaker is None


@pytest.mark.usefixtures("two")
def test_the_report_adds_up_and_draws(neekoctl, registry: Registry, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "gate.html"
    document = neekoctl("gate", "report", "--json", "--html", page).document
    count = len(probes_of_everybody(registry))
    assert document["questions"] == count == sum(map(sum, document["confusion"]["counts"]))
    assert sum(document["decisions"].values()) == count
    assert sum(row["questions"] for row in document["characters"]) == count
    assert document["coverage"][-1] == [1.0, document["top_1"]]
    assert sum(row["questions"] for row in document["calibration"]) == count
    text = page.read_text(encoding="utf-8")
    assert "Plotly.newPlot" in text
    assert "<script src=" not in text
    assert "PRECISION" in neekoctl("gate", "report").out


@pytest.mark.usefixtures("pico_environment")
def test_an_encoder_that_moved_is_followed(neekoctl, tmp_path: Path, pico_encoder: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.delenv("NEEKOCTL_ENCODER")
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(pico_encoder, old)
    for name in ("Ant", "Bee"):
        assert neekoctl("add-character", write_profile(tmp_path, name), *QUICK, "--encoder", old).code == 0
    old.rename(new)
    lost = neekoctl("check", "--junit", tmp_path / "check.xml")
    assert (lost.code, "the gate is not checked" in lost.err) == (0, True)
    assert (tmp_path / "check.xml").read_text().count("There is no file or folder") == 3  # Ant, Bee and everybody
    assert neekoctl("route", "Hello", "--encoder", new).code == 0
    checked = neekoctl("check", "--json")
    assert (checked.code, "the gate is not checked" in checked.err) == (0, False)


@pytest.mark.usefixtures("two")
def test_the_same_encoder_at_another_place_is_the_same(
    neekoctl, registry: Registry, tmp_path: Path, pico_encoder: Path
) -> None:
    kept = encoder_in_use(registry)
    copy = tmp_path / "copy"
    shutil.copytree(pico_encoder, copy)
    assert neekoctl("route", "Bee, hello!", "--encoder", copy).code == 0
    assert neekoctl("add-character", write_profile(tmp_path, "Cat"), *QUICK, "--encoder", copy).code == 0
    assert {row.encoder for row in registry.residents()} == {kept}


@pytest.mark.usefixtures("two")
def test_names_are_no_markup_on_the_page(neekoctl, registry: Registry, tmp_path: Path) -> None:
    assert neekoctl("add-character", write_profile(tmp_path, "<b>Cat"), *QUICK).code == 0
    assert neekoctl("gate", "report", "--html", tmp_path / "gate.html").code == 0
    page = (tmp_path / "gate.html").read_text()
    assert "&lt;b&gt;Cat" in page
    assert "<b>Cat" not in page.replace(r"\u003c", "<").replace(r"\u003e", ">")


@pytest.mark.usefixtures("two")
def test_a_folder_of_an_aliass_name_is_not_taken_for_it(registry: Registry, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in (DEFAULT_BASE, "my-model"):
        (tmp_path / name).mkdir()
    assert canonical(registry, DEFAULT_BASE) == DEFAULT_BASE
    assert canonical(registry, "my-model") == str(tmp_path / "my-model")


@pytest.mark.usefixtures("two")
def test_a_version_without_a_head_does_not_find_an_older_ones(neekoctl, registry: Registry, tmp_path: Path) -> None:
    version = active_gate(registry)
    assert version is not None
    left = registry.layout.head(version.version + 1)  # of a loading that was killed, say
    left.parent.mkdir(parents=True)
    left.write_bytes(b"another gate's")
    assert neekoctl("add-character", write_profile(tmp_path, "Cat"), *QUICK).code == 0
    assert not left.exists()
    asked = neekoctl("route", "Where do you sleep?", "--gate", "head")
    assert (asked.code, "gate rebuild" in asked.err) == (2, True)


@pytest.mark.usefixtures("two")
def test_an_encoder_that_changes_before_the_reservation_is_met_at_once(
    neekoctl, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = Registry.reserve

    def embedded_anew_just_before(*arguments: Any) -> Any:
        with registry.writing() as session:
            session.exec(update(Character).values(encoder="another@1"))
        return reserve(*arguments)

    monkeypatch.setattr(Registry, "reserve", embedded_anew_just_before)
    monkeypatch.setattr("neekoctl.onboarding.set_stage", lambda *_, **__: pytest.fail("a base was loaded for nothing"))
    refused = neekoctl("add-character", write_profile(tmp_path, "Cat"), *QUICK)
    assert (refused.code, "embedded by another" in refused.err) == (1, True)
    assert [row.name for row in registry.characters()] == ["Ant", "Bee"]


@pytest.mark.usefixtures("two")
def test_another_encoder_is_refused_until_everybody_is_embedded_anew(
    neekoctl, registry: Registry, tmp_path: Path, pico_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(pico_encoder, other)
    config = other / "config.json"
    config.write_text(config.read_text().replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-9'))
    monkeypatch.setenv("NEEKOCTL_ENCODER", str(other))
    for command in (["route", "Where do you sleep?"], ["chat", "--once", "Where?"],
                    ["add-character", write_profile(tmp_path, "Cat"), *QUICK]):  # fmt: skip
        refused = neekoctl(*command)
        assert (refused.code, "gate rebuild" in refused.err) == (1, True)
    assert [row.name for row in registry.characters()] == ["Ant", "Bee"]
    rebuilt = neekoctl("gate", "rebuild", "--json").document
    assert rebuilt["kept"] is False
    assert neekoctl("route", "Where do you sleep?", "--gate", "head", "--json").code == 0
    version = active_gate(registry)
    assert version is not None
    assert set(version.settings) == {"prototypes", "similarity", "head"}


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["route", "hello"], 1, "Nobody lives here yet"),
        (["gate", "report"], 1, "Nobody lives here yet"),
        (["gate", "rebuild"], 1, "Nobody lives here yet"),
    ],
)
def test_an_empty_house(neekoctl, command: list[str], code: int, words: str) -> None:
    done = neekoctl(*command)
    assert (done.code, words in done.err) == (code, True)


@pytest.mark.usefixtures("two")
def test_bad_input_is_a_sentence(neekoctl) -> None:
    for command, code, words in (
        (["route", ""], 2, "nothing to route"),
        (["route", "\x07"], 2, "nothing to route"),
        (["route", "hi", "--gate", "magic"], 2, "no signal"),
        (["route", "hi", "--gate", "head"], 2, "gate rebuild"),
    ):
        done = neekoctl(*command)
        assert (done.code, words in done.err) == (code, True), done.err
    for text in ("../../etc/passwd [0, 8) blocks/aa", "\x1b[31m" * 100, "Where? " * 15_000):
        assert neekoctl("route", text, "--json").code == 0
