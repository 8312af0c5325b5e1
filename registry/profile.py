"""profile.yaml: the schema of a character, and a reader that reports every fault at once with its line.
Knows nothing of models, ranks or the database, nor of how files are read.
"""

import hashlib
import json
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from registry.errors import Fault, ProfileError
from registry.names import CONTROLS, JOINERS, NO_NAME, fold, is_a_name, nearest, spaced
from registry.profile_text import Line, Location, Reading, broken, place

LARGEST_PROFILE = 4 * 2**20  # bytes; a profile is prose, long dialogues belong in the .jsonl
LARGEST_DIALOGUES = 128 * 2**20
LONGEST_NAME = 80
EMPTY = "must not be empty"
KEY_CUTOFF = 70  # of 100, for keys: there are few, so that many a word is a little like one


def _printable(text: str) -> str:
    if found := CONTROLS.search(text):
        raise ValueError(f"must not hold the control character {found[0]!r}")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(spaced)]
BLANK = BeforeValidator(lambda value: [] if value is None else value)  # a key with nothing behind it is as good as none


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
        turns = zip(self.messages, cycle(("user", "assistant")))  # noqa: B905  without end
        wrong = next((place for place, (message, role) in enumerate(turns) if message.role != role), None)
        if wrong is None and len(self.messages) % 2:
            wrong = len(self.messages) - 1
        if wrong is not None:
            told = "user and assistant must take turns, the user first and the assistant last"
            raise ValueError(f"{told}; messages.{wrong} does not")
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
    aliases: Annotated[list[Name], BLANK] = []
    language: Text = "en"
    facts: Annotated[list[Text], BLANK] = []
    era: Era | None = None
    style: Annotated[str, AfterValidator(_printable)] | None = None

    @field_validator("name", "aliases")
    @classmethod
    def printable(cls, value: str | list[str]) -> str | list[str]:
        for name in [value] if isinstance(value, str) else value:
            if not is_a_name(name):
                hidden = next((mark for mark in name if not mark.isprintable() and mark not in JOINERS), None)
                raise ValueError(NO_NAME + (f"; it holds {ascii(hidden)}" if hidden else ""))
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
    reading = Reading(path)
    document = reading.document(LARGEST_PROFILE)
    if not isinstance(document, dict):
        raise broken(Line(path.name, 1), "must be a mapping with `name`, `persona` and `dialogues`")
    if isinstance(document.get("dialogues"), str):
        document["dialogues"] = reading.beside("dialogues", document["dialogues"], LARGEST_DIALOGUES)
    try:
        profile = Profile.model_validate(document)
    except ValidationError as error:
        reading.faults += [_fault(detail, reading) for detail in error.errors()]
    if reading.faults:
        raise ProfileError(sorted(reading.faults, key=place))
    return profile


def _fault(detail: Any, reading: Reading) -> Fault:
    """Pydantic's error as one of ours."""
    field = ".".join(str(part) for part in detail["loc"])
    return Fault(str(reading.where(tuple(detail["loc"]))), field, _sentence(detail))


def _keys_at(location: Location) -> list[str]:
    """The keys that belong where this one stands."""
    by_depth: dict[int, type[BaseModel]] = {3: Conversation, 5: Message}
    model = Era if location[0] == "era" else by_depth.get(len(location), Profile)
    return [field.alias or name for name, field in model.model_fields.items()]


def _sentence(detail: Any) -> str:
    """What to do, in place of pydantic's wording, for the faults people really make."""
    kind, context, location = detail["type"], detail.get("ctx", {}), detail["loc"]
    if kind == "extra_forbidden":
        meant = nearest(str(location[-1]), _keys_at(location), KEY_CUTOFF)
        return "is not a known key" + (f"; did you mean `{meant[0]}`?" if meant else "")
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_type":
        return _no_text(detail["input"], location[-1])
    sentences = {
        "missing": "is required",
        "string_too_short": EMPTY,
        "string_too_long": f"must have at most {context.get('max_length')} characters",
        "too_short": f"must hold at least {context.get('min_length')}",
        "int_type": "must be a whole number",
        "list_type": "must be a list",
        "model_type": "must be a mapping",
        "string_unicode": "holds half a letter (\\ud800 to \\udfff); take that out",
        "literal_error": f"must be {context.get('expected')}",
    }
    return sentences.get(kind, str(detail["msg"]))


def _no_text(given: object, key: str | int) -> str:
    if given is None:
        return EMPTY
    if isinstance(given, list) and key == "content":
        return "must be text, not a list of parts; join their texts into one"
    if isinstance(given, dict):
        return "must be text; put it in quotes if it holds a colon"
    return "must be text; put it in quotes if it looks like a number"
