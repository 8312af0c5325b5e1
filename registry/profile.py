"""profile.yaml: the schema of a character, and a reader that reports every fault at once with its line.
Knows nothing of models, ranks or the database.

YAML is composed by a SafeLoader whose scalars follow YAML 1.2's core schema, so `language: no` stays Norwegian;
anchors and aliases are refused, which is what a YAML bomb is made of.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from registry.errors import Fault, ProfileError
from registry.names import CONTROLS, NO_NAME, fold, is_a_name, nearest, spaced

LARGEST_PROFILE = 4 * 2**20  # bytes; a profile is prose, long dialogues belong in the .jsonl
LARGEST_DIALOGUES = 128 * 2**20
DEEPEST_NESTING = 12  # the schema needs 6
LONGEST_NAME = 80
LONGEST_NUMBER = 20  # digits; a longer one is text, and no year

Location = tuple[str | int, ...]


def _printable(text: str) -> str:
    if found := CONTROLS.search(text):
        raise ValueError(f"must not hold the control character {found[0]!r}")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(spaced)]


class Strict(BaseModel):
    """Unknown keys refused, nothing coerced, surrounding white space dropped."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, str_strip_whitespace=True)


class Message(Strict):
    """One turn."""

    role: Literal["user", "assistant"]
    content: Text


class Conversation(Strict):
    """User and assistant in turn; begins with the user, ends with the character."""

    messages: Annotated[list[Message], Field(min_length=2)]

    @model_validator(mode="after")
    def alternates(self) -> Self:
        roles = [message.role for message in self.messages]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError("user and assistant must take turns, the user first and the assistant last")
        return self


class Era(Strict):
    """Years the character lived through; what lies later it cannot know. Negative: before Christ."""

    from_: int | None = Field(default=None, alias="from")
    until: int | None = None

    @model_validator(mode="after")
    def in_order(self) -> Self:
        if self.from_ is not None and self.until is not None and self.from_ > self.until:
            raise ValueError("`from` must not be later than `until`")
        return self


class Profile(Strict):
    """A character as its author describes it."""

    name: Name
    persona: Text
    dialogues: list[Conversation]  # [] where none are known: such a block is fused, or written by a network
    aliases: list[Name] = []
    language: Text = "en"
    facts: list[Text] = []
    era: Era | None = None
    style: Annotated[str, AfterValidator(_printable)] | None = None

    @field_validator("name", "aliases")
    @classmethod
    def printable(cls, value: str | list[str]) -> str | list[str]:
        for name in [value] if isinstance(value, str) else value:
            if not is_a_name(name):
                raise ValueError(NO_NAME)
        return value

    @field_validator("aliases")
    @classmethod
    def handles_differ(cls, aliases: list[str], info: ValidationInfo) -> list[str]:
        handles = [info.data["name"], *aliases] if "name" in info.data else aliases
        keys = [fold(handle) for handle in handles]
        if twice := [handle for handle, key in zip(handles, keys, strict=True) if keys.count(key) > 1]:
            raise ValueError(f"{twice[0]!r} is given twice among the name and aliases")
        return aliases

    @property
    def handles(self) -> list[str]:
        """Everything the character answers to, its name first."""
        return [self.name, *self.aliases]

    def description(self) -> dict[str, Any]:
        """All but the dialogues, as it is kept in the registry."""
        return self.model_dump(exclude={"dialogues"}, by_alias=True, exclude_none=True)

    def digests(self) -> dict[str, str]:
        """sha256 of the description and of the dialogues, independent of file layout."""
        dialogues = [conversation.model_dump() for conversation in self.dialogues]
        return {"description": _digest(self.description()), "dialogues": _digest(dialogues)}


def _digest(value: object) -> str:
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """JSON Schema of profile.yaml, for editors; `dialogues` may also name a .jsonl."""
    schema = Profile.model_json_schema(by_alias=True)
    inline = schema["properties"]["dialogues"]
    beside = {"type": "string", "pattern": r"\.jsonl$", "description": "a messages .jsonl beside the profile"}
    schema["properties"]["dialogues"] = {"title": "Dialogues", "anyOf": [beside, inline]}
    return schema


def load_profile(path: Path) -> Profile:
    """Read and check a profile and the dialogues it names.

    Raises:
        ProfileError: with every fault found, each naming its file, line and field.
    """
    reading = _Reading(path)
    document = reading.document()
    if isinstance(document.get("dialogues"), str):
        document["dialogues"] = reading.dialogues(document["dialogues"])
    try:
        profile = Profile.model_validate(document)
    except ValidationError as error:
        reading.faults += map(reading.fault, error.errors())
    if reading.faults:
        raise ProfileError(sorted(reading.faults, key=reading.order))
    return profile


class _CoreLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A SafeLoader without YAML 1.1's surprises: `no`, `1e3`, `12:30:00` and dates are text."""


_CoreLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
]:
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


@dataclass(frozen=True)
class _Line:
    file: str
    number: int | None

    def __str__(self) -> str:
        return f"{self.file} line {self.number}" if self.number else self.file


class _Reading:
    """One reading of a profile: the faults so far, and the line where each value stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[Fault] = []
        self.lines: dict[Location, _Line] = {}

    def document(self) -> dict[str, Any]:
        """The profile as plain values. Raises ProfileError at once when it is no YAML mapping."""
        text = _read_text(self.path, LARGEST_PROFILE)
        try:
            _refuse_bombs(text, self.path.name)
            root = yaml.compose(text, Loader=_CoreLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise _broken(_Line(self.path.name, line), f"is not valid YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise _broken(_Line(self.path.name, None), f"is not valid YAML: {error}") from error
        if not isinstance(root, yaml.MappingNode):
            raise _broken(_Line(self.path.name, 1), "must be a mapping with `name`, `persona` and `dialogues`")
        value: dict[str, Any] = self._plain(root, ())
        return value

    def _plain(self, node: yaml.Node, at: Location) -> Any:
        self.lines[at] = _Line(self.path.name, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*at, index)) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return _scalar(node)
        mapping: dict[str, Any] = {}
        for key, item in node.value:
            where = _Line(self.path.name, key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                self.faults.append(Fault(str(where), "", "a key must be one word"))
                continue
            name = str(key.value)
            if name in mapping:
                self.faults.append(Fault(str(where), name, "is given twice"))
            mapping[name] = self._plain(item, (*at, name))
            self.lines[(*at, name)] = where
        return mapping

    def dialogues(self, name: str) -> list[Any]:
        """The conversations of a .jsonl beside the profile; a broken file or line becomes a fault."""
        try:
            text = _read_text(self._beside(name), LARGEST_DIALOGUES)
        except ProfileError as error:
            self.faults += error.faults
            return []
        conversations: list[Any] = []
        for number, line in _numbered(text):
            where = _Line(name, number)
            try:
                value = json.loads(line, object_pairs_hook=_no_key_twice)
            except (ValueError, RecursionError) as error:
                self.faults.append(Fault(str(where), "", f"is not valid JSON: {_json_reason(error)}"))
                continue
            self.lines[("dialogues", len(conversations))] = where
            conversations.append(value)
        if not _numbered(text):
            self.faults.append(Fault(str(self.lines[("dialogues",)]), "dialogues", "must hold at least 1"))
        return conversations

    def _beside(self, name: str) -> Path:
        """Raises ProfileError when the name leads out of the profile's folder, or to no .jsonl."""
        try:
            path = self.path.parent / name
            inside = path.resolve().is_relative_to(self.path.parent.resolve()) and path.suffix == ".jsonl"
        except (OSError, ValueError, RuntimeError):  # a NUL in the name, a loop of links
            inside = False
        if not inside:
            raise _broken(self.lines[("dialogues",)], "must name a .jsonl file beside the profile", "dialogues")
        return path

    def fault(self, detail: Any) -> Fault:
        """Pydantic's error as one of ours, with the nearest line known."""
        location: Location = tuple(detail["loc"])
        known = location
        while known not in self.lines and known:
            known = known[:-1]
        field = ".".join(str(part) for part in location)
        where = self.lines.get(known, _Line(self.path.name, None))
        return Fault(str(where), field, _sentence(detail))

    @staticmethod
    def order(fault: Fault) -> tuple[str, int]:
        file, _, number = fault.where.rpartition(" line ")
        return (file, int(number)) if number.isdecimal() else (fault.where, 0)


def _keys_at(location: Location) -> list[str]:
    """The keys that belong where this one stands."""
    by_depth: dict[int, type[BaseModel]] = {3: Conversation, 5: Message}
    model = Era if location[0] == "era" else by_depth.get(len(location), Profile)
    return [field.alias or name for name, field in model.model_fields.items()]


def _sentence(detail: Any) -> str:
    """What to do, in place of pydantic's wording, for the faults people really make."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        meant = nearest(str(detail["loc"][-1]), _keys_at(detail["loc"]))
        return "is not a known key" + (f"; did you mean `{meant[0]}`?" if meant else "")
    if kind == "value_error":
        return str(context["error"])
    sentences = {
        "missing": "is required",
        "string_type": "must be text; put it in quotes if it looks like a number",
        "string_too_short": "must not be empty",
        "string_too_long": f"must have at most {context.get('max_length')} characters",
        "too_short": f"must hold at least {context.get('min_length')}",
        "int_type": "must be a whole number",
        "list_type": "must be a list",
        "model_type": "must be a mapping",
        "literal_error": f"must be {context.get('expected')}",
    }
    return sentences.get(kind, str(detail["msg"]))


def _read_text(path: Path, largest: int) -> str:
    """Raises ProfileError: a folder, missing, unreadable, too large, or no text."""
    where = _Line(path.name or str(path), None)
    try:
        if path.is_dir():
            raise _broken(where, "is a folder; name the profile file in it")
        if path.exists() and not path.is_file():
            raise _broken(where, "is not a regular file")
        if (size := path.stat().st_size) > largest:
            raise _broken(where, f"has {size / 2**20:.0f} MiB; at most {largest / 2**20:.0f} MiB are read")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(where, "is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise _broken(where, f"cannot be read: {error.strerror}") from error
    if "\0" in text:
        raise _broken(where, "is a binary file, not text")
    return text


def _refuse_bombs(text: str, file: str) -> None:
    """Walk the event stream, which expands nothing, before anything is composed."""
    depth = 0
    for event in yaml.parse(text, Loader=_CoreLoader):
        line = _Line(file, event.start_mark.line + 1 if event.start_mark else None)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _broken(line, "anchors and aliases are not allowed; write the value out")
        if tag := getattr(event, "tag", None):
            raise _broken(line, f"the tag {tag!r} is not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_NESTING:
            raise _broken(line, f"is nested deeper than {DEEPEST_NESTING} levels")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _json_reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _scalar(node: yaml.Node) -> Any:
    match node.tag.rpartition(":")[2]:
        case "str":
            return str(node.value)
        case "null":
            return None
        case "bool":
            return node.value.lower() == "true"
    return int(node.value) if len(node.value) < LONGEST_NUMBER else node.value


def _numbered(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _broken(where: _Line, message: str, field: str = "") -> ProfileError:
    return ProfileError([Fault(str(where), field, message)])
