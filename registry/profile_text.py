"""The files an author writes (YAML, JSON, .jsonl) as plain values, and the line where each stands. Knows nothing of
the schema.

YAML is composed by a SafeLoader whose scalars follow YAML 1.2's core schema, so `language: no` stays Norwegian;
anchors and aliases are refused, which is what a YAML bomb is made of.
"""

import json
import os
import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from registry.errors import Fault, ProfileError
from registry.names import CONTROLS
from registry.other_formats import PNG, no_conversations, of_a_program, picture

DEEPEST_NESTING = 12  # the schema needs 6
LONGEST_NUMBER = 20  # digits; a longer one is text, and no year
# A line of YAML 1.1 ends at these, too, and one of YAML 1.2 or JSON does not: while they are read, others stand there.
BREAKS = {"\x85": "\U0001fffe", "\u2028": "\U0001ffff", "\u2029": "\U0002fffe"}
HIDDEN, SHOWN = str.maketrans(BREAKS), str.maketrans({stands: mark for mark, stands in BREAKS.items()})
UNREADABLE = re.compile(rf"{CONTROLS.pattern}|[\ufffe\uffff]")  # by YAML, which would not say in which line
# JSON's escape of a letter in two halves, which YAML does not know; any other escape is matched to be stepped over.
ESCAPED = re.compile(r"\\(?:u((?i:d[89ab])[0-9a-fA-F]{2}\\u(?i:d[c-f])[0-9a-fA-F]{2})|.)")

ANCHORS = "anchors and aliases are not allowed; write the value out, or put text that begins with * or & in quotes"
LOST = re.compile(r"[ \t]+#[^\s#]")  # a comment to YAML, and hardly to an author: `Android #18`
CUT_OFF = "what follows ` #` is a comment and would be lost; put the text in quotes, or a space behind the #"

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Line:
    """A line of a file, or the whole of it."""

    file: str
    number: int | None

    def __str__(self) -> str:
        return f"{self.file} line {self.number}" if self.number else self.file


@dataclass(frozen=True)
class _Source:
    """A YAML text, and its lines as an editor counts them."""

    file: str
    text: str

    @cached_property
    def _ends(self) -> list[int]:
        return [end.start() for end in re.finditer("\n", self.text)]

    def line(self, at: int) -> Line:
        return Line(self.file, bisect_left(self._ends, at) + 1)

    def of(self, mark: Any) -> Line:  # a Mark of libyaml's or of PyYAML's, if any
        return self.line(mark.index) if mark else Line(self.file, None)


class _CoreLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A SafeLoader without YAML 1.1's surprises: `no`, `1e3`, `12:30:00` and dates are text."""


_CoreLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
]:
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


class Reading:
    """One reading of a file and of those it names: the faults so far, and the line where each value stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[Fault] = []
        self.lines: dict[Location, Line] = {}

    def document(self, largest: int) -> Any:
        """The file as plain values. Raises ProfileError at once when it is no YAML."""
        text, whole = read_text(self.path, largest), Line(self.path.name, None)
        if told := of_a_program(text):
            raise broken(whole, told)
        if self.path.suffix == ".jsonl":
            raise broken(whole, "holds dialogues; name the profile that names it")
        if text.lstrip().startswith("{"):
            text = ESCAPED.sub(_joined, text)
        text = text.translate(HIDDEN)
        source = _Source(self.path.name, text)
        if found := UNREADABLE.search(text):
            raise broken(source.line(found.start()), f"is not valid YAML: it holds {found[0]!r}; take that out")
        try:
            _refuse_bombs(source)
            root = yaml.compose(text, Loader=_CoreLoader)
        except yaml.MarkedYAMLError as error:
            opened = error.context_mark if error.context == "while scanning a quoted scalar" else None
            raise broken(source.of(opened or error.problem_mark), _yaml_reason(error)) from error
        return None if root is None else self._plain(root, (), source)

    def _plain(self, node: yaml.Node, at: Location, source: _Source) -> Any:
        self.lines[at] = source.of(node.start_mark)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*at, index), source) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            plain = isinstance(node, yaml.ScalarNode) and not node.style
            if plain and LOST.match(source.text, node.end_mark.index):
                self.faults.append(Fault(str(self.lines[at]), ".".join(map(str, at)), CUT_OFF))
            return _scalar(node)
        mapping: dict[str, Any] = {}
        for key, item in node.value:
            where = source.of(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                self.faults.append(Fault(str(where), "", "a key must be one word"))
                continue
            name = str(key.value).translate(SHOWN)
            if name in mapping:
                self.faults.append(Fault(str(where), name, "is given twice"))
            mapping[name] = self._plain(item, (*at, name), source)
            self.lines[(*at, name)] = where
        return mapping

    def beside(self, field: str, name: str, largest: int) -> list[Any]:
        """The values of the .jsonl that a field names, one a line; a broken file or line becomes a fault."""
        try:
            lines = self._lines_beside(field, name, largest)
        except ProfileError as error:
            self.faults += error.faults
            return []
        values: list[Any] = []
        for where, line in lines:
            try:
                value = json.loads(line.lstrip("\ufeff"), object_pairs_hook=_no_key_twice)
            except (ValueError, RecursionError) as error:
                self.faults.append(Fault(str(where), "", f"is not valid JSON: {_json_reason(error)}"))
                continue
            self.lines[(field, len(values))] = where
            values.append(value)
        return values

    def _lines_beside(self, field: str, name: str, largest: int) -> list[tuple[Line, str]]:
        """Raises ProfileError: no file beside this one, none with anything in it, or not a value a line."""
        path = self._path_beside(field, name)
        if not os.path.isfile(path):  # noqa: PTH113  a name too long for a file is none, too
            raise broken(self.lines[(field,)], f"there is no file {name} beside the profile", field)
        text = read_text(path, largest)
        numbered = enumerate(text.split("\n"), start=1)
        lines = [(Line(name, number), line) for number, line in numbered if line.strip()]
        if not lines:
            raise broken(self.lines[(field,)], "must hold at least 1", field)
        if told := no_conversations(text):
            raise broken(lines[0][0], told)
        return lines

    def _path_beside(self, field: str, name: str) -> Path:
        """Raises ProfileError when the name leads out of this file's folder, or to no .jsonl."""
        try:
            path = self.path.parent / name
            inside = path.resolve().is_relative_to(self.path.parent.resolve()) and path.suffix == ".jsonl"
        except (OSError, ValueError, RuntimeError):  # a NUL in the name, a loop of links
            inside = False
        if not inside:
            raise broken(self.lines[(field,)], "must name a .jsonl file beside the profile", field)
        return path

    def where(self, location: Location) -> Line:
        """The nearest line known of a value."""
        while location not in self.lines and location:
            location = location[:-1]
        return self.lines.get(location, Line(self.path.name, None))


def place(fault: Fault) -> tuple[str, int]:
    """Where a fault stands among others: by file, and by line as a number."""
    file, _, number = fault.where.rpartition(" line ")
    return (file, int(number)) if number.isdecimal() else (fault.where, 0)


def broken(where: Line, message: str, field: str = "") -> ProfileError:
    return ProfileError([Fault(str(where), field, message)])


def read_text(path: Path, largest: int) -> str:
    """Raises ProfileError: a folder, missing, unreadable, too large, or no text."""
    where = Line(path.name or str(path), None)
    try:
        _refuse_unread(path, where, largest)
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        at = Line(where.file, error.object.count(b"\n", 0, error.start) + 1)
        raise broken(at, "is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise broken(where, f"cannot be read: {error.strerror}") from error
    if "\0" in text:
        raise broken(where, "is a binary file, not text")
    return text


def _refuse_unread(path: Path, where: Line, largest: int) -> None:
    """Raises ProfileError for what need not be read to be refused."""
    if path.is_dir():
        raise broken(where, "is a folder; name the profile file in it")
    if path.exists() and not path.is_file():
        raise broken(where, "is not a regular file")
    with path.open("rb") as stream:
        if told := picture(stream.read(len(PNG))):
            raise broken(where, told)
    if path.stat().st_size > largest:
        raise broken(where, f"has more than {largest / 2**20:.0f} MiB; no more are read")


def _refuse_bombs(source: _Source) -> None:
    """Walk the event stream, which expands nothing, before anything is composed."""
    depth = 0
    for event in yaml.parse(source.text, Loader=_CoreLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise broken(source.of(event.start_mark), ANCHORS)
        if tag := getattr(event, "tag", None):
            raise broken(source.of(event.start_mark), f"the tag {tag!r} is not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_NESTING:
            raise broken(source.of(event.start_mark), f"is nested deeper than {DEEPEST_NESTING} levels")


def _yaml_reason(error: yaml.MarkedYAMLError) -> str:
    if error.context in ("while scanning an alias", "while scanning an anchor"):
        return ANCHORS
    problem = error.problem or ""
    if "another document" in problem:
        return "holds two documents; take out the second ---"
    hint = "" if "tab character" in problem else "; put the text in quotes, or mend the indentation"
    return f"is not valid YAML: {problem}{hint}"


def _joined(escape: re.Match[str]) -> str:
    """The letter of a surrogate pair; any other escape as it stands."""
    return str(json.loads(f'"{escape[0]}"')) if escape[1] else escape[0]


def _scalar(node: yaml.Node) -> Any:
    match node.tag.rpartition(":")[2]:
        case "str":
            return str(node.value).translate(SHOWN)
        case "null":
            return None
        case "bool":
            return node.value.lower() == "true"
    return int(node.value) if len(node.value) < LONGEST_NUMBER else node.value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _json_reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if error.msg == "Extra data" and error.doc[error.pos :].strip() == ",":
        return "take out the comma at its end"
    return f"{error.msg.removesuffix(' at')} (column {error.colno})"
