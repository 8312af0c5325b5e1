"""Profiles: what is read as it is written, and every way to get one wrong: which faults, in which file and line.

Each case of bad input states the whole list of faults, so that a fault too many is noticed as well as one too few.
"""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from registry.errors import Fault, ProfileError
from registry.profile import LARGEST_DIALOGUES, Profile, json_schema, load_profile

GOOD = "name: Moth\npersona: lives in a lamp\ndialogues: moth.jsonl\n"
TALK = '{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Dust!"}]}\n'
INLINE = "dialogues: [{messages: [{role: user, content: Who?}, {role: assistant, content: Dust!}]}]\n"
WITH_TEXT = "must be text; put it in quotes if it looks like a number"
BESIDE = "must name a .jsonl file beside the profile"
ONE_LINE = "must be one printable line without ##[ that does not begin with /, - or ::"
NESTED = "is nested deeper than 12 levels"
ANCHORS = "anchors and aliases are not allowed; write the value out, or put text that begins with * or & in quotes"
QUOTES = "; put the text in quotes, or mend the indentation"
NO_MAPPING = "must be a mapping with `name`, `persona` and `dialogues`"
ANEW = ("write a profile with `neekoctl profile new NAME`, put the description into persona and the example dialogues "
        "into the .jsonl (docs/recipes.md says how)")  # fmt: skip
SHAREGPT = "holds ShareGPT's conversations; docs/recipes.md has a script that makes a .jsonl of them"
TURNS = "user and assistant must take turns, the user first and the assistant last"


def write(folder: Path, text: str | bytes = GOOD, talks: str | bytes = TALK, name: str = "moth.yaml") -> Path:
    """A profile of exactly this text, beside a moth.jsonl of exactly these lines."""
    for path, content in ((folder / "moth.jsonl", talks), (folder / name, text)):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def faults(path: Path) -> list[str]:
    """Every fault of the profile, as a user reads it."""
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert all(isinstance(fault, Fault) for fault in caught.value.faults)
    for fault in caught.value.faults:
        assert str(fault) in str(caught.value)
    return [str(fault) for fault in caught.value.faults]


def read(folder: Path, text: str | bytes = GOOD, talks: str | bytes = TALK) -> Profile:
    return load_profile(write(folder, text, talks))


def talk(*turns: tuple[str, object]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}) + "\n"


def test_a_key_that_would_steer_a_terminal_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    (fault,) = faults(write(tmp_path, GOOD + '"\\e[2Jx": 1\n'))
    assert "\\x1b[2Jx: is not a known key" in fault


def test_a_file_in_another_format_fills_no_screen(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        read(tmp_path, talks='{"conversations": []}\n' * 3000)
    assert len(caught.value.faults) >= 3000
    assert str(caught.value).count("\n") < 60
    assert f"and {len(caught.value.faults) - 40} more" in str(caught.value)


# files of other programs

PARTS = {"name": "Moth", "description": "A moth.", "first_mes": "*flutters*", "mes_example": "<START>", "scenario": ""}
V2 = {"spec": "chara_card_v2", "spec_version": "2.0", "data": PARTS}
DEEP = {**V2, "data": {"extensions": json.loads('{"a": ' * 20 + "1" + "}" * 20)}}
SHARED = {"id": 1, "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Dust!"}]}


@pytest.mark.parametrize("card", [PARTS, V2, DEEP, {**V2, "spec": "chara_card_v3"}], ids=["V1", "V2", "deep", "V3"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_character_card_is_called_one_whether_it_stands_for_the_profile_or_for_the_dialogues(
    tmp_path: Path, card: object, indent: int | None
) -> None:
    assert faults(write(tmp_path, json.dumps(card, indent=indent))) == [f"moth.yaml: is a character card; {ANEW}"]
    assert faults(write(tmp_path, GOOD, json.dumps(card))) == [f"moth.jsonl line 1: is a character card; {ANEW}"]


def test_a_picture_too_large_for_a_profile_is_called_a_picture(tmp_path: Path) -> None:
    (found,) = faults(write(tmp_path, b"\x89PNG\r\n\x1a\n" + bytes(5 * 2**20)))
    assert "is a PNG picture" in found


@pytest.mark.parametrize("indent", [None, 2])
def test_sharegpts_conversations_are_called_so(tmp_path: Path, indent: int | None) -> None:
    array = json.dumps([SHARED] * 3, indent=indent)
    assert faults(write(tmp_path, GOOD, f"{json.dumps(SHARED)}\n" * 3)) == [f"moth.jsonl line 1: {SHAREGPT}"]
    assert faults(write(tmp_path, GOOD, array)) == [f"moth.jsonl line 1: {SHAREGPT}"]
    assert faults(write(tmp_path, array)) == [f"moth.yaml: {SHAREGPT}"]


def test_who_speaks_of_a_cards_keys_has_written_no_card(tmp_path: Path) -> None:
    said = '"first_mes": {"conversations": [{"from": 1, "value": 2}]}'
    written = {"name": "Moth", "persona": said, "dialogues": "moth.jsonl"}
    assert read(tmp_path, json.dumps(written), talk(("user", said), ("assistant", said))).persona == said


@pytest.mark.parametrize("indent", [None, 2])
def test_a_jsonl_that_is_one_array_is_told_so_once(tmp_path: Path, indent: int | None) -> None:
    array = json.dumps([json.loads(TALK)] * 3, indent=indent)
    expected = "moth.jsonl line 2: is one JSON array; each line must be one conversation (docs/recipes.md has a script)"
    assert faults(write(tmp_path, GOOD, f"\n{array}\n")) == [expected]


@pytest.mark.parametrize("key", ["scenario", "description", "greeting", "first_mes"])
def test_no_key_is_offered_for_one_unlike_it(tmp_path: Path, key: str) -> None:
    assert faults(write(tmp_path, f"{GOOD}{key}: x\n")) == [f"moth.yaml line 4: {key}: is not a known key"]


@pytest.mark.parametrize(("typed", "meant"), [("Persona", "persona"), ("fact", "facts"), ("personality", "persona")])
def test_the_key_that_was_meant_is_offered(tmp_path: Path, typed: str, meant: str) -> None:
    (found,) = faults(write(tmp_path, f"{GOOD}{typed}: x\n"))
    assert found.endswith(f"did you mean `{meant}`?")


CHATS = "\ufeff" + "".join(
    "\n" + json.dumps(chat, ensure_ascii=False)
    for chat in [
        {"messages": [
            {"role": "system", "content": "You are a moth."},
            {"role": "assistant", "content": "*flutters in*"},
            {"role": "user", "content": "Who\u2028are you?"},
            {"role": "user", "content": [{"type": "text", "text": "Tell"}, {"type": "text", "text": "me."}]},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "content": "{}"},
            {"role": "assistant", "content": "Dust! 🦊", "name": "moth"},
            {"role": "assistant"},
            {"role": "user", "content": "Bye"},
        ]},
        {"messages": [{"role": "user"}, {"role": "assistant", "content": "Hm?"}]},
        {"messages": None},
        SHARED,
    ]
)  # fmt: skip
CONVERTED = [["Who\u2028are you?\n\nTell\nme.", "Dust! 🦊"], ["Who?", "Dust!"]]


@pytest.mark.parametrize("chats", [CHATS, f"[{','.join(CHATS[1:].split(chr(10))[1:])}]"], ids=["lines", "array"])
def test_the_script_in_the_docs_makes_valid_dialogues_of_whatever_chats_there_are(tmp_path: Path, chats: str) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", docs, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script], input=chats.encode(), capture_output=True, check=True)
    found = read(tmp_path, GOOD, done.stdout).dialogues
    assert [[turn.content for turn in each.messages] for each in found] == CONVERTED


# what is read


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
    (GOOD.replace("Moth", '"Mo\\nth"'), f"moth.yaml line 1: name: {ONE_LINE}"),
    (GOOD.replace("Moth", '"Mo\\0th"'), f"moth.yaml line 1: name: {ONE_LINE}"),
    (GOOD.replace("Moth", '"Mo\\u200bth"'), f"moth.yaml line 1: name: {ONE_LINE}"),
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f"moth.yaml line 1: {NO_MAPPING}"),
        ("# nothing yet\n", f"moth.yaml line 1: {NO_MAPPING}"),
        ("- name: Moth\n", f"moth.yaml line 1: {NO_MAPPING}"),
        ("Moth\n", f"moth.yaml line 1: {NO_MAPPING}"),
        (GOOD + "---\n" + GOOD, "moth.yaml line 4: is not valid YAML: "),
        (GOOD + "\tstyle: dry\n", "moth.yaml line 4: is not valid YAML: "),
        (GOOD + "facts: [a, b\n", "moth.yaml line 5: is not valid YAML: "),
        (GOOD + "style: 'open\n", "moth.yaml line 5: is not valid YAML: "),
        (GOOD + "style: a: b\n", "moth.yaml line 4: is not valid YAML: "),
        (GOOD + 'style: "a\x01b"\n', "moth.yaml line 4: is not valid YAML: it holds '\\x01'; take that out"),
        (GOOD + "facts: " + "[" * 5000 + "]" * 5000, f"moth.yaml line 4: {NESTED}"),
        ("[" * 1_000_000, f"moth.yaml line 1: {NESTED}"),
        ("{a: " * 100_000, f"moth.yaml line 1: {NESTED}"),
        ("- " * 100_000, f"moth.yaml line 1: {NESTED}"),
        (GOOD + "style: &s dry\n", f"moth.yaml line 4: {ANCHORS}"),
        (GOOD + "style: *s\n", f"moth.yaml line 4: {ANCHORS}"),
        (GOOD + "era: &e {until: 1}\n", f"moth.yaml line 4: {ANCHORS}"),
        (GOOD + "facts: &f [*f]\n", f"moth.yaml line 4: {ANCHORS}"),
        ("a: &a [x, x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)), f"moth.yaml line 1: {ANCHORS}"),  # fmt: skip  # noqa: E501
        (GOOD.encode("utf-16"), "moth.yaml: is not UTF-8 text; save it as UTF-8"),
        (GOOD.encode() + b"style: caf\xe9\n", "moth.yaml: is not UTF-8 text; save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", f"moth.yaml: is a PNG picture; if it is a character card, {ANEW}"),
        (b"PK\x03\x04\0\0", "moth.yaml: is a binary file, not text"),
    ],
    ids=[
        "empty", "only a comment", "a list", "a word", "two documents", "a tab", "open list", "open quote",
        "two colons", "control character", "5000 lists deep", "a million brackets", "mappings deep", "dashes deep",
        "anchor", "alias", "anchored mapping", "itself", "billion laughs", "utf-16", "latin-1", "picture", "archive",
    ],
)  # fmt: skip
def test_what_is_no_profile_at_all_is_refused_in_one_fault(tmp_path: Path, text: str | bytes, expected: str) -> None:
    (found,) = faults(write(tmp_path, text))
    assert found == expected or (expected.endswith(": ") and found.startswith(expected))


@pytest.mark.parametrize(
    "text",
    [GOOD + "era: {until: !!int abc}\n", GOOD + "era: {until: !!int ''}\n", GOOD + "style: !!bool maybe\n"],
    ids=["letters as a number", "nothing as a number", "a word as a truth"],
)
def test_a_tag_that_its_value_belies_is_a_fault_on_its_line(tmp_path: Path, text: str) -> None:
    (found,) = faults(write(tmp_path, text))
    assert found.startswith("moth.yaml line 4: ")


def test_a_tag_on_a_list_or_mapping_is_refused_like_one_on_a_value(tmp_path: Path) -> None:
    for tagged in ("facts: !!python/object/apply:os.system [ls]", "era: !odd {until: 1}"):
        (found,) = faults(write(tmp_path, f"{GOOD}{tagged}\n"))
        assert "is not allowed" in found


def test_a_key_that_is_no_word_is_a_fault_without_the_parsers_insides(tmp_path: Path) -> None:
    (found,) = faults(write(tmp_path, GOOD + "? [a, b]\n: c\n"))
    assert found.startswith("moth.yaml line 4: ")
    assert "ScalarNode" not in found


@pytest.mark.parametrize("between", ["\u2028", "\u0085", "\u2029"])
def test_lines_are_counted_as_editors_do(tmp_path: Path, between: str) -> None:
    text = f"name: Moth\npersona: 'a {between} b'\ndialogues: moth.jsonl\n"
    assert faults(write(tmp_path, text + "style: 3\n")) == [f"moth.yaml line 4: style: {WITH_TEXT}"]
    assert faults(write(tmp_path, text + "style: &s dry\n")) == [f"moth.yaml line 4: {ANCHORS}"]
    (found,) = faults(write(tmp_path, text + "facts: [a\n"))
    assert found.startswith("moth.yaml line 5: is not valid YAML: ")


@pytest.mark.parametrize("mark", ["\x1b", "\x7f", "\x84", "\ufffe", "\uffff"])
def test_what_yaml_cannot_read_has_a_line_and_takes_one(tmp_path: Path, mark: str) -> None:
    expected = f"moth.yaml line 4: is not valid YAML: it holds {mark!r}; take that out"
    assert faults(write(tmp_path, f"{GOOD}style: é{mark}\n")) == [expected]


@pytest.mark.parametrize("text", ["*smiles* hi", "*smiles and waves*", "**bold** x", "* hi", "& co", "&co"])
def test_text_that_begins_like_an_alias_is_told_of_quotes(tmp_path: Path, text: str) -> None:
    found = faults(write(tmp_path, GOOD.replace("lives in a lamp", text)))
    assert found == [f"moth.yaml line 2: {ANCHORS}"]


@pytest.mark.parametrize("text", ["@foo", "`x`", '"Queen" of math', "[OOC] hi", "{{char}} is tall", "'it's'", "a: b"])
def test_text_that_begins_like_yaml_is_told_of_quotes(tmp_path: Path, text: str) -> None:
    for where in (GOOD.replace("lives in a lamp", text), f"name: Moth\nfacts: \n  - {text}: x\n  - y\n"):
        (found,) = faults(write(tmp_path, where))
        assert found.endswith(QUOTES)
        assert "is not valid YAML: " in found


# files that are no profile


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert faults(tmp_path) == [f"{tmp_path.name}: is a folder; name the profile file in it"]


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_a_folder_without_a_name_of_its_own_is_still_named(place: str) -> None:
    assert faults(Path(place)) == [f"{place}: is a folder; name the profile file in it"]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert faults(tmp_path / "nobody.yaml") == ["nobody.yaml: cannot be read: No such file or directory"]


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert stat.S_ISFIFO((tmp_path / "pipe.yaml").stat().st_mode)
    assert faults(tmp_path / "pipe.yaml") == ["pipe.yaml: is not a regular file"]


def test_200_megabytes_are_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "moth.yaml").open("wb") as stream:
        stream.truncate(200 * 2**20)
    assert faults(tmp_path / "moth.yaml") == ["moth.yaml: has 200 MiB; at most 4 MiB are read"]


def test_a_huge_jsonl_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path)
    with (tmp_path / "moth.jsonl").open("wb") as stream:
        stream.truncate(LARGEST_DIALOGUES + 2**20)
    assert faults(path) == ["moth.jsonl: has 129 MiB; at most 128 MiB are read"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file: run the tests as another user")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.chmod(0)
    assert faults(path) == ["moth.yaml: cannot be read: Permission denied"]


@pytest.mark.parametrize("name", ["my line 3.yaml", "a line b.yaml", "moth"])
def test_faults_are_put_in_order_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    found = faults(write(tmp_path, GOOD + "xyzzy: 1\nstyle: 2\n", name=name))
    assert [each.startswith(f"{name} line {line}: ") for each, line in zip(found, (4, 5), strict=True)] == [True, True]


# the .jsonl


BROKEN = [
    ('{"messages": [}\n', ": is not valid JSON: Expecting value"),
    ("hello\n", ": is not valid JSON: Expecting value"),
    (TALK.strip() + "," + "\n", ": is not valid JSON: Extra data"),
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
    (talk(("assistant", "x"), ("user", "x")), f": dialogues.1: {TURNS}"),
    (talk(("user", "x"), ("user", "x")), f": dialogues.1: {TURNS}"),
    (talk(("user", "x"), ("assistant", "x"), ("user", "x")), f": dialogues.1: {TURNS}"),
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
    assert found.startswith("moth.jsonl: is ")


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
    assert len(faults(write(tmp_path, GOOD.replace("moth.jsonl", name)))) == 1


# many faults


def test_all_faults_are_told_at_once_in_file_order_with_their_lines(tmp_path: Path) -> None:
    text = (
        "nam: Moth\nlanguage: 3\npersona: ''\nera:\n  until: x\nfacts:\n  - fine\n  - 3\nname: A\nname: B\n"
        "dialogues: moth.jsonl\naliases: Dusty\n"
    )
    talks = "{broken\n" + TALK + "\n" + '{"messages": []}\n' + talk(("user", ""), ("system", "x"))
    assert faults(write(tmp_path, text, talks)) == [
        "moth.jsonl line 1: is not valid JSON: Expecting property name enclosed in double quotes",
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
