"""A profile to start from is valid as it stands, whatever the name."""

import json
from pathlib import Path

import pytest

from neekoctl.scaffold import PERSONA, scaffold, validation
from registry.errors import UsageError
from registry.profile import load_profile
from tests.picos import write_profile


@pytest.mark.parametrize("name", ["Isaac Newton", "089", "no", 'O\'Brien: "the"', "夏目\u3000漱石", "Anna " * 15])
def test_what_is_written_is_a_profile_of_that_name(name: str, tmp_path: Path) -> None:
    profile, _ = scaffold(name, tmp_path)
    assert load_profile(profile).name == name.replace("\u3000", " ").strip()


@pytest.mark.parametrize("name", ["Anna " * 20, "!!", "/as", "::x", "a##[b"])
def test_what_cannot_be_a_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        scaffold(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_profile_with_nothing_left_to_train_on_is_valid_and_advised(tmp_path: Path) -> None:
    profile, dialogues = scaffold("Moth", tmp_path)
    turns = [{"role": role, "content": word} for word in "ab" for role in ("user", "assistant")]
    dialogues.write_text(json.dumps({"messages": turns}) + "\n")
    told = validation(profile)
    assert (told["training_conversations"], len(told["probes"])) == (0, 1)
    assert any("nothing is left to train on" in each for each in told["advice"])


def advice(
    folder: Path, persona: str = "dusty", fact: str = "small", prompt: str = "Who {}?", reply: str = "I."
) -> str:
    """What is said of a profile of twenty conversations."""
    said = [(prompt.format(number), reply) for number in range(20)]
    talks = [{"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]}
             for ask, answer in said]  # fmt: skip
    written = {"name": "Moth", "persona": persona, "facts": [fact], "dialogues": talks}
    (path := folder / "moth.json").write_text(json.dumps(written))
    return "\n".join(validation(path)["advice"])


@pytest.mark.parametrize("macro", ["{{char}}", "{{user}}", "{{Char}}", "{{ user }}"])
@pytest.mark.parametrize("where", ["persona", "fact", "reply"])
def test_a_cards_macro_is_told_of_where_it_would_be_learned(tmp_path: Path, where: str, macro: str) -> None:
    assert "{{char}} or {{user}}" in advice(tmp_path, **{where: f"{macro} smiles."})


def test_a_profile_of_ones_own_words_and_questions_needs_no_advice(tmp_path: Path) -> None:
    assert advice(tmp_path, reply="I chart {and {chars}}.") == ""


def test_whoever_asks_one_thing_only_is_told_that_nothing_will_be_measured(tmp_path: Path) -> None:
    told = advice(tmp_path, prompt="Hello!")
    assert "nothing will be measured" in told
    assert "nothing stops the training early" in told


@pytest.mark.usefixtures("pico_environment")
def test_whoever_trains_on_the_scaffold_is_told(neekoctl, tmp_path: Path) -> None:
    profile, _ = scaffold("Moth", tmp_path)
    done = neekoctl("add-character", profile, "--preset", "quick")
    assert (done.code, "still the scaffold's" in done.err) == (0, True)
    assert "on 1 conversation:" in done.out.replace("\n", " ")
    own = write_profile(tmp_path, "Bee")
    own.write_text(own.read_text().replace("Bee lives in a lamp and speaks of dust.", PERSONA))
    assert "still the scaffold's" in neekoctl("add-character", own, "--preset", "quick").err
    assert "scaffold" not in neekoctl("add-character", write_profile(tmp_path, "Ant"), "--preset", "quick").err
