"""The files that an author writes: those of other programs are called so, and what cannot be read has a line.

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

from registry.profile import LARGEST_DIALOGUES
from tests.registry.profiles import (
    ANCHORS,
    ANEW,
    GOOD,
    NESTED,
    NO_MAPPING,
    QUOTES,
    SHAREGPT,
    TALK,
    WITH_TEXT,
    faults,
    read,
    talk,
    write,
)

AT_END = f"is not valid YAML: found unexpected end of stream{QUOTES}"
NO_COLON = f"is not valid YAML: could not find expected ':'{QUOTES}"

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


@pytest.mark.parametrize(
    ("talks", "told"),
    [
        ({"instruction": "Who?", "input": "", "output": "Dust!"}, "holds instruction, input, output and no `messages`"),
        ({"prompt": "Who?", "chosen": "Dust!", "rejected": "No."}, "holds prompt, chosen, rejected and no `messages`"),
        ({}, "holds a value and no `messages`"),
        ("Who?", "holds a value and no `messages`"),
    ],
    ids=["instructions", "preferences", "nothing", "words"],
)
def test_lines_that_are_no_conversations_are_told_so_once(tmp_path: Path, talks: object, told: str) -> None:
    expected = f"moth.jsonl line 1: {told}; each line must be one conversation (docs/recipes.md has a script)"
    assert faults(write(tmp_path, GOOD, f"{json.dumps(talks)}\n" * 100)) == [expected]


def test_conversations_of_several_lines_are_told_so_once(tmp_path: Path) -> None:
    spread = f"{json.dumps(json.loads(TALK), indent=2)}\n" * 24
    expected = "begins a value of several lines; each line must be one conversation (docs/recipes.md has a script)"
    assert faults(write(tmp_path, GOOD, spread)) == [f"moth.jsonl line 1: {expected}"]


def test_dialogues_are_no_profile(tmp_path: Path) -> None:
    write(tmp_path)
    told = "moth.jsonl: holds dialogues; name the profile that names it"
    assert faults(tmp_path / "moth.jsonl") == [told]


def test_files_with_a_byte_order_mark_may_be_put_together(tmp_path: Path) -> None:
    assert len(read(tmp_path, GOOD, f"\ufeff{TALK}\ufeff{TALK}").dialogues) == 2


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
    done = _convert(chats)
    found = read(tmp_path, GOOD, done.stdout).dialogues
    assert [[turn.content for turn in each.messages] for each in found] == CONVERTED
    assert done.stderr.decode().count("has no question with a reply, and is left out") == 2


def test_the_script_in_the_docs_guesses_nobodys_part(tmp_path: Path) -> None:
    chat = {"conversations": [{"from": "human", "value": "Who?"}, {"from": "bard", "value": "Dust!"}]}
    done = _convert(json.dumps(chat))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Conversation 1: who is 'bard'? Add that to ROLES" in done.stderr


def _convert(chats: str) -> subprocess.CompletedProcess[bytes]:
    docs = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", docs, flags=re.DOTALL)
    return subprocess.run([sys.executable, "-c", script], input=chats.encode(), capture_output=True, check=False)


# what is no YAML that is read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f"moth.yaml line 1: {NO_MAPPING}"),
        ("# nothing yet\n", f"moth.yaml line 1: {NO_MAPPING}"),
        ("- name: Moth\n", f"moth.yaml line 1: {NO_MAPPING}"),
        ("Moth\n", f"moth.yaml line 1: {NO_MAPPING}"),
        (GOOD + "---\n" + GOOD, "moth.yaml line 4: holds two documents; take out the second ---"),
        (GOOD + "\tstyle: dry\n", "moth.yaml line 4: is not valid YAML: "),
        (GOOD + "facts: [a, b\n", "moth.yaml line 5: is not valid YAML: "),
        (GOOD + "style: 'open\nfacts: []\n", f"moth.yaml line 4: {AT_END}"),
        (GOOD.replace("lives", "|\nlives"), f"moth.yaml line 4: {NO_COLON}"),
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
        (GOOD.encode("utf-16"), "moth.yaml line 1: is not UTF-8 text; save it as UTF-8"),
        (GOOD.encode() + b"style: caf\xe9\n", "moth.yaml line 4: is not UTF-8 text; save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", f"moth.yaml: is a PNG picture; if it is a character card, {ANEW}"),
        (b"PK\x03\x04\0\0", "moth.yaml: is a binary file, not text"),
    ],
    ids=[
        "empty", "only a comment", "a list", "a word", "two documents", "a tab", "open list", "open quote",
        "block at the margin", "two colons", "control character",
        "5000 lists deep", "a million brackets", "mappings deep", "dashes deep",
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
    assert faults(tmp_path / "moth.yaml") == ["moth.yaml: has more than 4 MiB; no more are read"]


def test_a_huge_jsonl_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path)
    with (tmp_path / "moth.jsonl").open("wb") as stream:
        stream.truncate(LARGEST_DIALOGUES + 2**20)
    assert faults(path) == ["moth.jsonl: has more than 128 MiB; no more are read"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file: run the tests as another user")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.chmod(0)
    assert faults(path) == ["moth.yaml: cannot be read: Permission denied"]


@pytest.mark.parametrize("name", ["my line 3.yaml", "a line b.yaml", "moth"])
def test_faults_are_put_in_order_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    found = faults(write(tmp_path, GOOD + "xyzzy: 1\nstyle: 2\n", name=name))
    assert [each.startswith(f"{name} line {line}: ") for each, line in zip(found, (4, 5), strict=True)] == [True, True]
