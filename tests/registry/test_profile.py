"""Profiles: what is read as it is written, and every way to get one wrong: which faults, in which file and line.

Each case of bad input states the whole list of faults, so that a fault too many is noticed as well as one too few.
"""

import json
from pathlib import Path

import pytest
import yaml

from registry.errors import ProfileError
from registry.profile import Profile, json_schema, load_profile
from registry.profile_text import BREAKS
from tests.registry.profiles import (
    BESIDE,
    CUT_OFF,
    GOOD,
    INLINE,
    ONE_LINE,
    TALK,
    TURNS,
    WITH_TEXT,
    faults,
    read,
    talk,
    write,
)


def test_a_key_that_would_steer_a_terminal_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    (fault,) = faults(write(tmp_path, GOOD + '"\\e[2Jx": 1\n'))
    assert "\\x1b[2Jx: is not a known key" in fault


def test_a_file_in_another_format_fills_no_screen(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        read(tmp_path, talks='{"messages": [], "speaker": "Moth"}\n' * 3000)
    assert len(caught.value.faults) >= 3000
    assert str(caught.value).count("\n") < 60
    assert f"and {len(caught.value.faults) - 40} more" in str(caught.value)


# what is read


@pytest.mark.parametrize("mark", BREAKS)
def test_a_mark_that_ends_no_line_moves_no_text(tmp_path: Path, mark: str) -> None:
    block = GOOD.replace("lives in a lamp", f"|\n  lives {mark} in{mark}style: a lamp{mark}")
    assert read(tmp_path, block).persona == f"lives {mark} in{mark}style: a lamp"
    written = {"name": "Moth", "persona": f"lives {mark} in{mark}a lamp", "dialogues": "moth.jsonl"}
    assert read(tmp_path, json.dumps(written, ensure_ascii=False)).persona == written["persona"]


def test_a_comment_that_looks_like_one_is_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD.replace("Moth", "Moth # of the lamp") + "#18\n").name == "Moth"
    assert read(tmp_path, GOOD.replace("Moth", '"Moth #18" #')).name == "Moth #18"


def test_a_letter_that_json_writes_in_two_halves_is_read(tmp_path: Path) -> None:
    written = {"name": "Moth 🦊", "persona": "\\ud83e\\udd8a\n\\🦊", "dialogues": [json.loads(TALK)]}
    for indent in (None, 2, "\t"):
        profile = read(tmp_path, json.dumps(written, indent=indent))
        assert (profile.name, profile.persona) == (written["name"], written["persona"])


def test_a_list_left_blank_is_as_good_as_none(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD + "facts:\naliases:\nera:\nstyle:\n") == read(tmp_path)


def test_names_have_plain_spaces_and_may_have_joiners(tmp_path: Path) -> None:
    text = "name: 夏目\u3000漱石\naliases: [Mr.\u00a0Natsume, ශ\u0dca\u200dර\u0dd3]\npersona: x\ndialogues: []\n"
    profile = read(tmp_path, text)
    assert profile.handles == ["夏目 漱石", "Mr. Natsume", "ශ\u0dca\u200dර\u0dd3"]


def test_every_key_of_the_schema_is_read(tmp_path: Path) -> None:
    text = (
        "name: Isaac Newton\naliases: [Newton, Sir Isaac]\nlanguage: en\npersona: |\n  A natural philosopher.\n"
        "facts: [Born at Woolsthorpe., Warden of the Mint.]\nera: {from: 1642, until: 1727}\nstyle: dry\n"
        "dialogues: moth.jsonl\n"
    )
    profile = read(tmp_path, text)
    assert profile.handles == ["Isaac Newton", "Newton", "Sir Isaac"]
    assert profile.persona == "A natural philosopher."
    assert profile.description() == {
        "name": "Isaac Newton", "aliases": ["Newton", "Sir Isaac"], "language": "en",
        "persona": "A natural philosopher.", "facts": ["Born at Woolsthorpe.", "Warden of the Mint."],
        "era": {"from": 1642, "until": 1727}, "style": "dry",
    }  # fmt: skip
    assert [message.content for message in profile.dialogues[0].messages] == ["Who?", "Dust!"]


def test_three_keys_are_enough(tmp_path: Path) -> None:
    profile = read(tmp_path)
    assert (profile.aliases, profile.facts, profile.language, profile.era) == ([], [], "en", None)


def test_inline_dialogues_and_a_jsonl_are_the_same(tmp_path: Path) -> None:
    inline = read(tmp_path, GOOD.replace("dialogues: moth.jsonl\n", INLINE))
    assert inline == read(tmp_path)
    assert inline.digests() == read(tmp_path).digests()


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("language: no", "language", "no"),
        ("language: on", "language", "on"),
        ("name: 1e3", "name", "1e3"),
        ("name: 0x1F", "name", "0x1F"),
        ("name: 12:30:00", "name", "12:30:00"),
        ("name: 1984-06-01", "name", "1984-06-01"),
        ("name: .inf", "name", ".inf"),
        ("name: 1_000", "name", "1_000"),
        ("name: '007'", "name", "007"),
        ("name: 孔子", "name", "孔子"),
        ("name: Chloé O'Brien", "name", "Chloé O'Brien"),
        ("name: '  Moth '", "name", "Moth"),
        ("style: 'null'", "style", "null"),
        ("style: ~", "style", None),
        ("aliases: [yes, off, Y]", "aliases", ["yes", "off", "Y"]),
    ],
)
def test_a_value_means_what_it_looks_like(tmp_path: Path, line: str, key: str, value: object) -> None:
    kept = [each for each in GOOD.splitlines() if not each.startswith(f"{key}:")]
    assert getattr(read(tmp_path, "\n".join([line, *kept])), key) == value


@pytest.mark.parametrize("until", [1727, -44, 0, 9999])
def test_years_may_lie_before_christ(tmp_path: Path, until: int) -> None:
    era = read(tmp_path, f"{GOOD}era: {{until: {until}}}\n").era
    assert era is not None
    assert (era.from_, era.until) == (None, until)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "\n\n" + text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
    ],
    ids=["windows line ends", "byte order mark", "blank lines", "no last line end"],
)
def test_how_an_editor_saves_a_file_changes_nothing(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    assert read(tmp_path, change(GOOD), change(TALK + TALK)) == read(tmp_path, GOOD, TALK + TALK)


def test_the_digest_of_the_dialogues_ignores_layout_and_sees_a_changed_letter(tmp_path: Path) -> None:
    plain = read(tmp_path).digests()
    spaced = json.dumps(json.loads(TALK), indent=None, separators=(" ,  ", " : ")) + "\n\n"
    assert read(tmp_path, "# a note\n" + GOOD, spaced).digests() == plain
    changed = read(tmp_path, GOOD, TALK.replace("Dust", "Must")).digests()
    assert changed["dialogues"] != plain["dialogues"]
    assert changed["description"] == plain["description"]
    assert read(tmp_path, GOOD.replace("lamp", "lump")).digests()["dialogues"] == plain["dialogues"]


def test_a_jsonl_in_a_folder_beside_the_profile_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "a.jsonl").write_text(TALK)
    assert len(read(tmp_path, GOOD.replace("moth.jsonl", "talks/a.jsonl")).dialogues) == 1


# one fault


WRONG = [
    (GOOD + "styl: dry\n", "moth.yaml line 4: styl: is not a known key; did you mean `style`?"),
    (GOOD + "xyzzy: 1\n", "moth.yaml line 4: xyzzy: is not a known key"),
    (GOOD + "era: {til: 1727}\n", "moth.yaml line 4: era.til: is not a known key"),
    (GOOD.replace("Moth", "1984"), f"moth.yaml line 1: name: {WITH_TEXT}"),
    (GOOD.replace("Moth", "true"), f"moth.yaml line 1: name: {WITH_TEXT}"),
    (GOOD.replace("Moth", "[a]"), f"moth.yaml line 1: name: {WITH_TEXT}"),
    (GOOD.replace("Moth", ""), "moth.yaml line 1: name: must not be empty"),
    (GOOD.replace("lives in a lamp", ""), "moth.yaml line 2: persona: must not be empty"),
    (GOOD + "facts: [~]\n", "moth.yaml line 4: facts.0: must not be empty"),
    (GOOD.replace("Moth", "'  '"), "moth.yaml line 1: name: must not be empty"),
    (GOOD.replace("Moth", "m" * 81), "moth.yaml line 1: name: must have at most 80 characters"),
    (GOOD.replace("Moth", "/quit"), f"moth.yaml line 1: name: {ONE_LINE}"),
    (GOOD.replace("Moth", "'-m'"), f"moth.yaml line 1: name: {ONE_LINE}"),
    (GOOD.replace("Moth", "'::error::m'"), f"moth.yaml line 1: name: {ONE_LINE}"),
    (GOOD.replace("Moth", "'##[error]m'"), f"moth.yaml line 1: name: {ONE_LINE}"),
    (GOOD.replace("Moth", '"Mo\\nth"'), f"moth.yaml line 1: name: {ONE_LINE}; it holds '\\n'"),
    (GOOD.replace("Moth", '"Mo\\0th"'), f"moth.yaml line 1: name: {ONE_LINE}; it holds '\\x00'"),
    (GOOD.replace("Moth", '"Mo\\u200bth"'), f"moth.yaml line 1: name: {ONE_LINE}; it holds '\\u200b'"),
    (GOOD.replace("Moth", '"\\u0301"'), f"moth.yaml line 1: name: {ONE_LINE}"),
    (GOOD.replace("lives in a lamp", '"a\\e[2J"'),
     "moth.yaml line 2: persona: must not hold the control character '\\x1b'"),
    (GOOD + 'style: "a\\x07"\n', "moth.yaml line 4: style: must not hold the control character '\\x07'"),
    (GOOD.replace("lives in a lamp", "''"), "moth.yaml line 2: persona: must not be empty"),
    (GOOD.replace("name: Moth\n", ""), "moth.yaml line 1: name: is required"),
    (GOOD.replace("dialogues: moth.jsonl\n", ""), "moth.yaml line 1: dialogues: is required"),
    (GOOD.replace("moth.jsonl", ""), "moth.yaml line 3: dialogues: must be a list"),
    (GOOD.replace("moth.jsonl", "7"), "moth.yaml line 3: dialogues: must be a list"),
    (GOOD.replace("moth.jsonl", "[hello]"), "moth.yaml line 3: dialogues.0: must be a mapping"),
    (GOOD + "aliases: Dusty\n", "moth.yaml line 4: aliases: must be a list"),
    (GOOD + "aliases:\n  - Dusty\n  - 3\n", f"moth.yaml line 6: aliases.1: {WITH_TEXT}"),
    (GOOD + "facts: {a: b}\n", "moth.yaml line 4: facts: must be a list"),
    (GOOD + "facts: ['']\n", "moth.yaml line 4: facts.0: must not be empty"),
    (GOOD + "facts:\n  - Born: 1871\n",
     "moth.yaml line 5: facts.0: must be text; put it in quotes if it holds a colon"),
    (GOOD.replace("Moth", "Moth #18"), f"moth.yaml line 1: name: {CUT_OFF}"),
    (GOOD + "facts:\n  - Was #1 in dust.\n", f"moth.yaml line 5: facts.0: {CUT_OFF}"),
    (GOOD + "era: 1727\n", "moth.yaml line 4: era: must be a mapping"),
    (GOOD + "era: {until: 1e3}\n", "moth.yaml line 4: era.until: must be a whole number"),
    (GOOD + "era: {until: true}\n", "moth.yaml line 4: era.until: must be a whole number"),
    (GOOD + "era: {until: '1727'}\n", "moth.yaml line 4: era.until: must be a whole number"),
    (GOOD + f"era: {{until: {'9' * 30}}}\n", "moth.yaml line 4: era.until: must be a whole number"),
    (GOOD + f"era: {{until: {'9' * 5000}}}\n", "moth.yaml line 4: era.until: must be a whole number"),
    (GOOD + "era: {from: 1800, until: 1727}\n", "moth.yaml line 4: era: `from` must not be later than `until`"),
    (GOOD + "name: Moth\n", "moth.yaml line 4: name: is given twice"),
    (GOOD + "era:\n  until: 1\n  until: 2\n", "moth.yaml line 6: until: is given twice"),
    (GOOD + "style: !!python/name:os.system x\n", "moth.yaml line 4: the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed"),  # fmt: skip  # noqa: E501
    (GOOD + "style: !!binary aGk=\n", "moth.yaml line 4: the tag 'tag:yaml.org,2002:binary' is not allowed"),
    (GOOD + "style: !odd x\n", "moth.yaml line 4: the tag '!odd' is not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[expected for _, expected in WRONG])
def test_a_wrong_value_is_one_fault_with_its_line_and_field(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = faults(write(tmp_path, text))
    assert found == expected or (expected.endswith("known key") and found.startswith(expected + ";"))


# the .jsonl


BROKEN = [
    ('{"messages": [}\n', ": is not valid JSON: Expecting value (column 15)"),
    ("hello\n", ": is not valid JSON: Expecting value (column 1)"),
    (TALK.strip() + "," + "\n", ": is not valid JSON: take out the comma at its end"),
    (TALK.strip() + "]" + "\n", f": is not valid JSON: Extra data (column {len(TALK)})"),
    (TALK.replace("Who?", "\t"), ": is not valid JSON: Invalid control character (column 44)"),
    (TALK.replace("Who?", "\\ud83d"),
     ": dialogues.1.messages.0.content: holds half a letter (\\ud800 to \\udfff); take that out"),
    ("[" * 100_000 + "\n", ": is not valid JSON: nested too deep"),
    ("[]\n", ": dialogues.1: must be a mapping"),
    ("3\n", ": dialogues.1: must be a mapping"),
    ("null\n", ": dialogues.1: must be a mapping"),
    ("{}\n", ": dialogues.1.messages: is required"),
    ('{"messages": []}\n', ": dialogues.1.messages: must hold at least 2"),
    ('{"messages": "Who?"}\n', ": dialogues.1.messages: must be a list"),
    (talk(("user", ""), ("assistant", "x")), ": dialogues.1.messages.0.content: must not be empty"),
    (talk(("user", " \n"), ("assistant", "x")), ": dialogues.1.messages.0.content: must not be empty"),
    (talk(("user", None), ("assistant", "x")), ": dialogues.1.messages.0.content: must not be empty"),
    (talk(("user", [{"type": "text", "text": "x"}]), ("assistant", "x")),
     ": dialogues.1.messages.0.content: must be text, not a list of parts; join their texts into one"),
    (talk(("user", 3), ("assistant", "x")), f": dialogues.1.messages.0.content: {WITH_TEXT}"),
    (talk(("system", "x"), ("assistant", "x")), ": dialogues.1.messages.0.role: must be 'user' or 'assistant'"),
    (talk(("assistant", "x"), ("user", "x")), f": dialogues.1: {TURNS}.0 does not"),
    (talk(("user", "x"), ("user", "x")), f": dialogues.1: {TURNS}.1 does not"),
    (talk(("user", "x"), ("assistant", "x"), ("user", "x")), f": dialogues.1: {TURNS}.2 does not"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), BROKEN, ids=[expected for _, expected in BROKEN])
def test_a_broken_line_is_named_by_its_number(tmp_path: Path, line: str, expected: str) -> None:
    path = write(tmp_path, GOOD, TALK + "\n" + line + TALK)
    assert faults(path) == [f"moth.jsonl line 3{expected}"]


@pytest.mark.parametrize(
    "line",
    ["[" + "1" * 5000 + "]\n", '{"messages": [], ' + TALK[1:], TALK.replace("Who?", "\\ud800")],
    ids=["a number of 5000 digits", "a key given twice", "half a surrogate pair"],
)
def test_what_json_readers_let_through_or_choke_on_is_a_fault_on_its_line(tmp_path: Path, line: str) -> None:
    found = faults(write(tmp_path, GOOD, TALK + line + TALK))
    assert [each.startswith("moth.jsonl line 2: ") for each in found] == [True]


def test_an_unknown_key_in_a_line_is_a_fault(tmp_path: Path) -> None:
    (found,) = faults(write(tmp_path, GOOD, TALK + '{"speaker": "Moth", ' + TALK[1:]))
    assert found.startswith("moth.jsonl line 2: dialogues.1.speaker: is not a known key")


def test_a_profile_may_say_that_it_has_no_dialogues(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, GOOD.replace("moth.jsonl", "[]")))
    assert (profile.name, profile.dialogues) == ("Moth", [])


def test_an_empty_jsonl_is_a_fault_of_the_profile(tmp_path: Path) -> None:
    assert faults(write(tmp_path, GOOD, "\n \n")) == ["moth.yaml line 3: dialogues: must hold at least 1"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00\x01", TALK.encode() + b"\xe9\n"])
def test_a_binary_jsonl_is_refused(tmp_path: Path, content: bytes) -> None:
    (found,) = faults(write(tmp_path, GOOD, content))
    assert found.startswith(("moth.jsonl: is ", "moth.jsonl line 1: is ", "moth.jsonl line 2: is "))


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jsonl",
        "/outside.jsonl",
        "talks/../../outside.jsonl",
        "link.jsonl",
        "moth.yaml",
        "moth.txt",
        "''",
        ".",
    ],
)
def test_dialogues_outside_the_folder_or_of_another_kind_are_not_opened(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (tmp_path / "outside.jsonl").write_text(TALK)
    (folder / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    assert faults(write(folder, GOOD.replace("moth.jsonl", name))) == [f"moth.yaml line 3: dialogues: {BESIDE}"]


@pytest.mark.parametrize(
    "name", ["loop.jsonl", '"moth\\0.jsonl"', "x" * 300 + ".jsonl", "folder.jsonl", "absent.jsonl"]
)
def test_dialogues_that_cannot_be_opened_are_one_fault(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (found,) = faults(write(tmp_path, GOOD.replace("moth.jsonl", name)))
    assert found.startswith("moth.yaml line 3: dialogues: ")


# many faults


def test_all_faults_are_told_at_once_in_file_order_with_their_lines(tmp_path: Path) -> None:
    text = (
        "nam: Moth\nlanguage: 3\npersona: ''\nera:\n  until: x\nfacts:\n  - fine\n  - 3\nname: A\nname: B\n"
        "dialogues: moth.jsonl\naliases: Dusty\n"
    )
    talks = "{broken\n" + TALK + "\n" + '{"messages": []}\n' + talk(("user", ""), ("system", "x"))
    assert faults(write(tmp_path, text, talks)) == [
        "moth.jsonl line 1: is not valid JSON: Expecting property name enclosed in double quotes (column 2)",
        "moth.jsonl line 4: dialogues.1.messages: must hold at least 2",
        "moth.jsonl line 5: dialogues.2.messages.0.content: must not be empty",
        "moth.jsonl line 5: dialogues.2.messages.1.role: must be 'user' or 'assistant'",
        "moth.yaml line 1: nam: is not a known key; did you mean `name`?",
        f"moth.yaml line 2: language: {WITH_TEXT}",
        "moth.yaml line 3: persona: must not be empty",
        "moth.yaml line 5: era.until: must be a whole number",
        f"moth.yaml line 8: facts.1: {WITH_TEXT}",
        "moth.yaml line 10: name: is given twice",
        "moth.yaml line 12: aliases: must be a list",
    ]


def test_lines_are_put_in_order_as_numbers(tmp_path: Path) -> None:
    found = faults(write(tmp_path, GOOD, "{\n" * 11))
    lines = [each.split(": ")[0] for each in found if each.startswith("moth.jsonl")]
    assert lines == [f"moth.jsonl line {number}" for number in range(1, 12)]


def test_when_every_line_is_broken_nobody_is_told_that_there_are_none(tmp_path: Path) -> None:
    assert len(faults(write(tmp_path, GOOD, "{\n"))) == 1


@pytest.mark.parametrize("name", ["absent.jsonl", "../moth.jsonl"])
def test_a_jsonl_that_cannot_be_used_hides_no_other_fault(tmp_path: Path, name: str) -> None:
    found = faults(write(tmp_path, f"name: 3\nstyl: dry\npersona: p\ndialogues: {name}\n"))
    assert len(found) == 3
    assert {"moth.yaml line 1: name", "moth.yaml line 2: styl"} <= {": ".join(each.split(": ")[:2]) for each in found}


def test_an_alias_that_is_the_name_in_other_letters_is_a_fault(tmp_path: Path) -> None:
    (found,) = faults(write(tmp_path, GOOD + "aliases: [MÓTH]\n"))
    assert found.endswith("'Moth' is given twice among the name and aliases")


def test_an_alias_given_twice_is_told_beside_other_faults(tmp_path: Path) -> None:
    found = faults(write(tmp_path, GOOD + "aliases: [Dusty, dusty]\nxyzzy: 1\n"))
    assert len(found) == 2
    assert any("given twice" in each for each in found)


# the schema for editors


def test_the_schema_for_editors_knows_every_key_and_requires_three() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(Profile.model_fields)
    assert set(schema["required"]) == {"name", "persona", "dialogues"}
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["Era"]["properties"]) == {"from", "until"}


def test_the_schema_for_editors_allows_a_jsonl_or_a_list_of_conversations() -> None:
    beside, inline = json_schema()["properties"]["dialogues"]["anyOf"]
    assert beside["type"] == "string"
    assert inline["type"] == "array"


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes" / "characters").glob("*.yaml")))
def test_the_characters_that_come_along_are_valid(path: Path) -> None:
    profile = load_profile(path)
    with path.with_suffix(".jsonl").open(encoding="utf-8") as lines:
        assert len(profile.dialogues) == sum(1 for line in lines if line.strip())
    assert profile.name == yaml.safe_load(path.read_text(encoding="utf-8"))["name"]
