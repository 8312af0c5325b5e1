"""Bad input: one sentence, the right exit code, no traceback, and nothing changed."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlmodel import text

from registry.layout import Layout
from registry.store import Registry
from tests.conftest import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")


def snapshot(registry: Registry) -> list[tuple]:
    with registry.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT name, status, start, stop FROM character"))]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--rank", "0"], 2, "rank"),
        (["--rank", "-4"], 2, "rank"),
        (["--rank", "600"], 2, "512"),
        (["--preset", "fancy"], 2, "quick"),
        (["--set", "learning_rte=1"], 2, "learning_rate"),
        (["--set", "epochs=zero"], 2, "epochs"),
        (["--set", "epochs"], 2, "key=value"),
        (["--strategy", "magic"], 2, "expand"),
        (["--base", "nothing-there"], 1, "alias"),
        (["--nonsense"], 2, "nonsense"),
    ],
)
def test_options_that_cannot_be(neekoctl, moth: Path, registry: Registry, arguments, code, words) -> None:
    done = neekoctl("add-character", moth, *arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert snapshot(registry) == []


def test_rank_larger_than_the_bank(neekoctl, moth: Path, registry: Registry, pico_llama: Path, layout: Layout) -> None:
    from recipes.sources import fingerprint

    registry.bank(str(pico_llama), fingerprint(layout, pico_llama), capacity=4)
    done = neekoctl("add-character", moth)
    assert (done.code, "from 1 to 4" in done.err) == (2, True)


@pytest.mark.parametrize("taken", ["moth", "MOTH", "Dusty"])
def test_a_name_or_alias_already_taken(neekoctl, moth: Path, tmp_path: Path, registry: Registry, taken: str) -> None:
    assert neekoctl("add-character", moth, "--preset", "quick").code == 0
    before = snapshot(registry)
    done = neekoctl("add-character", write_profile(tmp_path / "other", taken), "--preset", "quick")
    assert (done.code, "is taken" in done.err) == (1, True)
    assert snapshot(registry) == before


def test_a_profile_with_faults_lists_them_all_and_under_json_says_so_in_one_document(neekoctl, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: 12\npersna: x\ndialogues: 3\n")
    done = neekoctl("add-character", path, "--json")
    assert done.code == 1
    assert all(words in done.err for words in ("line 1: name", "line 2: persna", "`persona`", "line 3: dialogues"))
    assert done.document["kind"] == "ProfileError"


@pytest.mark.parametrize("make", ["folder", "missing", "binary"])
def test_a_profile_that_is_none(neekoctl, tmp_path: Path, make: str) -> None:
    path = tmp_path / "it"
    if make == "folder":
        path.mkdir()
    elif make == "binary":
        path.write_bytes(bytes(range(256)))
    done = neekoctl("add-character", path)
    assert (done.code, "Traceback" in done.err) == (1, False)
    assert done.err.strip()


def test_too_few_dialogues_to_train_on(neekoctl, tmp_path: Path, registry: Registry) -> None:
    turns = [{"role": role, "content": f"{role} {turn}"} for turn in range(3) for role in ("user", "assistant")]
    path = tmp_path / "one.yaml"
    path.write_text(f"name: One\npersona: x\ndialogues: {json.dumps([{'messages': turns}])}\n")
    done = neekoctl("add-character", path)
    assert (done.code, "too few dialogues" in done.err) == (1, True)
    assert snapshot(registry) == []


def test_a_base_that_is_no_causal_lm(neekoctl, moth: Path, pico_encoder: Path, registry: Registry) -> None:
    done = neekoctl("add-character", moth, "--base", pico_encoder)
    assert done.code == 1
    assert "causal" in done.err
    assert snapshot(registry) == []


def test_a_name_nobody_answers_to_is_met_with_the_nearest(neekoctl, moth: Path) -> None:
    neekoctl("add-character", moth, "--preset", "quick")
    for command in (["chat", "--as", "Mothh", "--once", "Hi"], ["show", "Mothh"], ["remove", "Mothh", "--yes"],
                    ["check", "--only", "Mothh"]):  # fmt: skip
        done = neekoctl(*command)
        assert (done.code, "did you mean Moth" in done.err) == (1, True)


@pytest.mark.parametrize("words", [["show"], ["list", "--frob"], ["frob"], ["show", "nobody"]])
def test_a_command_that_fails_prints_one_document_where_one_is_wanted(neekoctl, words: list[str]) -> None:
    done = neekoctl(*words, "--json")
    assert done.code in (1, 2)
    assert set(done.document) == {"error", "kind"}


@pytest.mark.parametrize(("answer", "told"), [("n\n", "You said no"), ("", "Stopped")], ids=["no", "nothing"])
def test_whoever_does_not_say_yes_is_told_that_nothing_was_changed(
    neekoctl, monkeypatch, answer: str, told: str
) -> None:
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("neekoctl.commands.asking.sys", terminal)
    done = neekoctl("rollback", 0, "--json", stdin=answer)
    document = json.loads(done.out[done.out.index("{") :])  # behind the answer, which the runner shows
    assert (done.code, document["error"].startswith(told)) == (1, True)


def test_no_disk_space(neekoctl, moth: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    done = neekoctl("add-character", moth)
    assert (done.code, "free some space" in done.err) == (1, True)
    assert snapshot(registry) == []


def test_a_disk_that_fills_up_while_the_block_is_written(neekoctl, moth: Path, registry, monkeypatch) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recipes.block.save", full)
    done = neekoctl("add-character", moth, "--preset", "quick")
    assert (done.code, "No space left" in done.err) == (1, True)
    assert snapshot(registry) == []
    assert not list(registry.layout.scratch.glob("*"))


def test_a_registry_from_a_newer_version(neekoctl, registry: Registry) -> None:
    with registry.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    done = neekoctl("list")
    assert (done.code, "newer" in done.err) == (1, True)


def test_a_registry_that_is_no_database(neekoctl, layout: Layout) -> None:
    layout.home.mkdir()
    layout.database.write_text("not a database, but long enough to be read as one" * 10)
    done = neekoctl("list")
    assert (done.code, "cannot be opened" in done.err) == (1, True)


def test_debug_shows_the_traceback(neekoctl) -> None:
    from registry.errors import UnknownCharacter

    with pytest.raises(UnknownCharacter):
        neekoctl("--debug", "show", "nobody")


def test_doctor_on_an_empty_home_finds_nothing(neekoctl) -> None:
    assert neekoctl("doctor", "--json").document == {"findings": []}


def test_ranks_of_no_bank(neekoctl) -> None:
    assert neekoctl("ranks").code == 2
