"""Who is named in a text: in any case and accent, by any alias, by a part of a name, and with a slip of the keyboard.
Knows names and words; nothing of vectors, models or who is likely to be meant.

What stands inside quotation marks or code is somebody else's words and names nobody, unless the name is all that is
quoted, or the quotation all that is said.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf

from recipes.manner import (
    ASKED,
    CALL,
    COMPARED,
    IN_THE_GUISE,
    Manner,
    is_joined,
    is_listed,
    is_set_apart,
    is_spoken_to,
    is_told,
    manner,
)
from recipes.words import CAPITALS, ENDING, PLAYED, Word, sentence_until, tidied, words, words_in

LONGEST_NAME = 8  # words
MOST = 100  # names of one text
SHORTEST_PART = 3  # letters of a part of a name that may stand for the whole
SHORTEST_SLIP = 5  # letters of a word in which one wrong letter is forgiven; from 8 on, two
SHORTEST_FIRST_SLIP = 6  # the same where it begins a sentence, which gives any word a capital: "Plate or bowl?"
SHORTEST_SMALL_SLIP = 7  # the same where it is written small: "black holes" are not Holmes
LONGEST_PLURAL = 7  # letters of a name that an "s" makes another word of, and no slip: "Roses"
LIKENESS = 0.6  # of two words, from which on one may be the other, badly typed

SHARED, UNDECIDED = (Manner.CALLED, Manner.REFUSED), (Manner.NAMED, Manner.TOPIC)  # "as Caesar or Cleopatra"
ROMAN = set("ivxlc")  # what kings and popes are told apart by
JOINTS = re.compile(r"[\s'’-]+")  # of a name; people leave them out
SPEECH = re.compile(r"(?<!\d)\"[^\"]{0,2000}\"|“[^”]{0,2000}”|„[^“”]{0,2000}[“”]|«[^»]{0,2000}»|「[^」]{0,2000}」")
ADDRESS = r"https?://\S+|\bwww\.\S+|[\w.+-]{1,64}@\w[\w-]{0,63}\.\w\S*"  # of a page, or to write to
QUOTED = re.compile(
    rf"{ADDRESS}|```(?:(?!```).){{0,4000}}```|`[^`]{{0,400}}`|{SPEECH.pattern}|(?<!\w)'[^'\n]{{0,200}}'(?!\w)",
    re.DOTALL,
)
MARKS_OF_SPEECH = str.maketrans(dict.fromkeys('"“”„«»「」', " "))
I_SAY = re.compile(  # or I do something beside it, but take in what others said
    r"\W*(?:i\s+(?!(?:read|hear|heard|saw|see|wrote|write|know|knew|think|thought|found|find|want|need|like|love|have|had|got"
    r"|mean|meant|am|do)\b)[a-z]+\b.*)?",
    re.I | re.S,
)
TALK_TO = re.compile(r"\b(?:(?:talk|speak|chat)\s+(?:to|with)|switch\s+(?:over\s+|back\s+)?to)\s+$", re.IGNORECASE)
CASTING = (r"(?:(?i:answer|speak|reply|respond|act|talk|pose|role-?\s?play|rp|go on|continue)\b[^.!?,;]{0,80}?\b(?i:as)"
           r"|(?i:(?:act|speak|talk)\s+like|pretend\s+to\s+be|switch\s+to))(?:\s+(?i:the))?")  # fmt: skip
CALLING = r"(?i:you\s+are(?:\s+now)?|let|talk\s+to|speak\s+to|chat\s+with|ask)"  # or so one speaks to whoever is there
CAPITALIZED = rf"(?:[{CAPITALS}]\.\s?){{0,4}}[{CAPITALS}](?:['’-]?\w)+"  # "Zola", "O'Connor", "J.R.R. Tolkien"
SMALL = r"van|von|de|der|di|da|du|la|le|el|al|bin"  # before a part of a name, or between two
SOMEBODY = (rf"\s+(?P<name>(?:(?:{SMALL})\s+){{0,2}}{CAPITALIZED}"
            rf"(?:\s+(?:(?:{SMALL}|of|the)\s+){{0,2}}{CAPITALIZED}){{0,2}})")  # fmt: skip
CAST_SOMEBODY = re.compile(rf"\b(?:{CASTING}){SOMEBODY}")
CALL_ON_SOMEBODY = re.compile(rf"\b(?:{CASTING}|{CALLING}){SOMEBODY}")


@dataclass(frozen=True)
class Mention:
    """A stretch of the text that may stand for any of `owners`."""

    owners: frozenset[int]
    text: str
    start: int
    manner: Manner

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Names:
    """Everybody's names and aliases, ready to be found in a text."""

    def __init__(self, handles: Mapping[int, list[str]]) -> None:
        self._handles = handles
        self._whole: dict[tuple[str, ...], set[int]] = {}
        self._parts: dict[str, set[int]] = {}
        self._given: set[str] = set()  # parts that begin a name
        self._between: dict[str, set[int]] = {}  # "van", "of": no parts by themselves
        self._slips: dict[tuple[str, int], list[str]] = {}  # (first letter, length) -> words of names
        for owner, names in handles.items():
            for name in names:
                self._add(tidied(name), owner)
        for part in self._parts.keys() | {key[0] for key in self._whole if len(key) == 1}:
            self._slips.setdefault((part[0], len(part)), []).append(part)

    def _add(self, name: str, owner: int) -> None:
        parts = list(words(name))
        key = tuple(part.key for part in parts)
        bare = key[1:] if key[:1] == ("the",) else ()  # "hello doctor" is said to The Doctor
        for whole in {key, bare, *_retyped(" ".join(key)), *(each for part in key for each in _retyped(part))} - {()}:
            self._whole.setdefault(whole[:LONGEST_NAME], set()).add(owner)
        for place, part in enumerate(parts if len(parts) > 1 else ()):
            if name[part.start : part.end].islower() and not name.islower():
                self._between.setdefault(part.key, set()).add(owner)
            elif len(part.key) >= SHORTEST_PART and not part.key.isdigit() and _stands_alone(key, place):
                self._parts.setdefault(part.key, set()).add(owner)
                if not place or key[place - 1] in words_in("titles"):
                    self._given.add(part.key)

    def mentions(self, text: str) -> list[Mention]:
        """Whoever is named, in the order of the text."""
        open_text = self._without_quotes(tidied(text))
        found = self._found(open_text, list(words(open_text)))
        return list(islice(_together(open_text, found), MOST))

    def stranger(self, text: str, in_conversation: bool = False) -> str | None:
        """The name called upon last, when nobody here answers to it. In a conversation "you are Roman" and "talk to
        Brutus" are said to whoever speaks, and only a part to play calls upon somebody."""
        open_text = self._without_quotes(tidied(text))
        found = (CAST_SOMEBODY if in_conversation else CALL_ON_SOMEBODY).finditer(open_text)
        calls = [call for call in found if _calls(open_text, call)]
        if not calls:
            return None
        name = ENDING.sub("", " ".join(calls[-1]["name"].split()))
        known = [each for each in self.mentions(open_text) if each.start >= calls[-1].start("name")]
        ordinary = all(word.key in words_in("common") for word in words(name))
        return None if known or ordinary else name

    def besides_names(self, text: str) -> list[str]:
        """The words of a text that name nobody."""
        text = tidied(text)
        found = self.mentions(text)
        return [word.key for word in words(text) if not any(each.start <= word.start < each.end for each in found)]

    def _without_quotes(self, text: str) -> str:
        """Blanks for what is quoted, so that places stay what they are; a quoted name alone stays readable, and so does
        what whoever plays a part says: `*walks in* "Hello Ada!"`."""
        if SPEECH.search(text) and I_SAY.fullmatch(PLAYED.sub(" ", SPEECH.sub(" ", text))):
            return text.translate(MARKS_OF_SPEECH)

        def blank(match: re.Match[str]) -> str:
            inner = tuple(word.key for word in words(match[0]))
            if inner in self._whole:
                return " " + match[0][1:-1] + " "
            return " " * len(match[0])

        return QUOTED.sub(blank, text)

    def _found(self, text: str, said: list[Word]) -> Iterator[Mention]:
        place, before = 0, None
        while place < len(said):
            length, owners = self._at(text, said, place)
            if owners and self._is_of_another(text, said[place : place + length + 1], length, owners):
                owners, length = set(), length + 1
            if owners:
                start, end = said[place].start, said[place + length - 1].end
                how = manner(text, _with_titles(text, said, place), end)
                if before and before.manner == Manner.ADDRESSED and is_listed(text, before.end, start, end):
                    how = Manner.ADDRESSED
                before = Mention(frozenset(owners), text[start:end], start, how)
                yield before
            place += max(1, length)

    def _at(self, text: str, said: list[Word], place: int) -> tuple[int, set[int]]:
        """(words, owners) of the longest name that begins here."""
        for length in range(min(LONGEST_NAME, len(said) - place), 0, -1):
            key = tuple(word.key for word in said[place : place + length])
            if key in self._whole and (length > 1 or _is_a_name(text, said[place], whole=True)):
                return length, self._whole[key]
        word = said[place]
        if not _is_a_name(text, word):
            return 1, set()
        owners, length = self._of_word(word, _shortest_slip(text, word)), 1
        while owners and place + length < len(said):  # "Sherlok Holms": further words that fit the same owners
            further = said[place + length]
            both = owners & (self._of_word(further, SHORTEST_SLIP) | self._between.get(further.key, set()))
            if not both:
                break
            owners, length = both, length + 1
        return length, owners

    def _of_word(self, word: Word, shortest_slip: float) -> set[int]:
        owners = self._parts.get(word.key, set()) | self._whole.get((word.key,), set())
        return owners or (self._nearly(word.key) if len(word.key) >= shortest_slip else set())

    def _nearly(self, word: str) -> set[int]:
        """Owners of the names that one slip (two in long words) turns into `word`, its first letter excepted."""
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import extract

        slips = 1 if len(word) < 8 else 2
        near = [name for length in range(len(word) - slips, len(word) + slips + 1)
                for name in self._slips.get((word[0], length), ()) if not _is_plural(word, name)]  # fmt: skip
        hits = extract(word, near, scorer=OSA.distance, score_cutoff=slips, limit=None)
        best = min((hit[1] for hit in hits), default=0)
        return {owner for name, distance, _ in hits if distance == best
                for owner in self._parts.get(name, set()) | self._whole.get((name,), set())}  # fmt: skip

    def _is_of_another(self, text: str, found: list[Word], length: int, owners: set[int]) -> bool:
        """Whether a given name is that of somebody who does not live here: Louis in "Louis Pasteur". An alias is a name
        by itself, and what follows it another word, unless somebody is called: "Answer as Ada Yonath"."""
        if length > 1 or len(found) < 2 or found[0].key not in self._given:
            return False
        if (found[0].key,) in self._whole and not CALL.search(sentence_until(text, found[0].start)):
            return False
        first, second = (text[word.start : word.end] for word in found)
        is_a_surname = second.istitle() and len(second) > 1 or second.isupper() and _is_roman(found[1].key)
        together = text[found[0].end : found[1].start] == " " and first[:1].isupper() and is_a_surname
        return together and not _is_a_word(found[1].key) and not self._may_be_theirs(found, owners)

    def _may_be_theirs(self, found: list[Word], owners: set[int]) -> bool:
        """Whether what follows a given name is of one of these, badly typed, or of somebody else who lives here."""
        from rapidfuzz.distance import OSA

        surname = found[1].key
        theirs = {word.key for owner in owners for name in self._handles[owner] for word in words(name)}
        if _is_roman(surname):  # "Elizabeth II" may be Queen Elizabeth, and never Elizabeth I
            return surname in theirs or bool(theirs & words_in("titles")) and not any(map(_is_roman, theirs))
        alike = any(OSA.normalized_similarity(surname, word) >= LIKENESS for word in theirs - {found[0].key})
        return alike or bool(self._of_word(found[1], SHORTEST_SLIP))


def _together(text: str, found: Iterator[Mention]) -> Iterator[Mention]:
    """Those called upon or refused in one breath, "Caesar or Cleopatra", as one: either may be meant."""
    before = next(found, None)
    for each in found:
        if before and each.manner in UNDECIDED and before.manner in SHARED and is_joined(text, before.end, each.start):
            before = Mention(before.owners | each.owners, text[before.start : each.end], before.start, before.manner)
        elif before:
            yield before
            before = each
    if before:
        yield before


def _calls(text: str, call: re.Match[str]) -> bool:
    """Whether a stranger is called upon, as a character would be."""
    before = sentence_until(text, call.start())
    compared = COMPARED.search(sentence_until(text, call.start("name")))
    return not (compared or ASKED.search(before) or is_told(before))


def _retyped(name: str) -> Iterator[tuple[str, ...]]:
    """As people type a name of several pieces: apart, together, or with dashes between."""
    pieces = JOINTS.split(name)
    if len(pieces) > 1:
        yield from (tuple(pieces), ("".join(pieces),), ("-".join(pieces),))


def _stands_alone(name: Sequence[str], place: int) -> bool:
    """Whether a part of a name may stand for the whole: no place that somebody is of, and no everyday word of an
    epithet ("The Boy Who Lived"), nor one behind others ("Iron Man"), which "Snow" in "Jon Snow" is not."""
    part, bare = name[place], [each for each in name if each not in words_in("titles")]
    before = name[place - 1] if place else ""
    if before in ("of", "who") or before == "the" and _is_everyday(part):
        return False
    if part in words_in("titles") or not (_is_a_word(part) if name[0] == "the" else _is_everyday(part)):
        return True
    return name[0] != "the" and (part == bare[0] or part == bare[-1] and not all(map(_is_everyday, bare)))


def _is_everyday(word: str) -> bool:
    return any(word in words_in(file) for file in ("common", "greetings", "courtesy"))


def _is_a_word(word: str) -> bool:
    """Whether a word is more than a name, or a name badly typed."""
    return _is_everyday(word) or any(word in words_in(file) for file in ("dictionary", "places"))


def _is_roman(word: str) -> bool:
    return set(word) <= ROMAN


def _is_plural(word: str, name: str) -> bool:
    return len(name) <= LONGEST_PLURAL and word in (name + "s", name + "es")


def _shortest_slip(text: str, word: Word) -> float:
    """Letters from which on a word may be a name with a slip: never one that is a word or a place by itself."""
    if _is_a_word(word.key):
        return inf
    if not text[word.start].isupper():
        return SHORTEST_SMALL_SLIP
    return SHORTEST_SLIP if _is_inside(text, word) or is_set_apart(text, word.start, word.end) else SHORTEST_FIRST_SLIP


def _is_inside(text: str, word: Word) -> bool:
    """Whether something stands before a word in its sentence, so that a capital tells a name."""
    return bool(sentence_until(text, word.start).strip(" \t\"'“(—-"))


def _with_titles(text: str, said: list[Word], place: int) -> int:
    """Where a name begins with the titles before it."""
    while place and said[place - 1].key in words_in("titles"):
        if text[said[place - 1].end : said[place].start].strip(" "):
            break
        place -= 1
    return said[place].start


def _is_a_name(text: str, word: Word, whole: bool = False) -> bool:
    """Whether a single word may be a name: no everyday one, or one that is written and placed as a name. Where it is a
    `whole` name, like "Doctor", whoever is spoken to by it is meant in small letters, too."""
    if word.key not in words_in("common"):
        return True
    before, is_written_as_one = sentence_until(text, word.start), text[word.start].isupper()
    if is_spoken_to(text, word.start, word.end) or IN_THE_GUISE.search(before):
        return True
    if (whole or is_written_as_one) and is_set_apart(text, word.start, word.end):
        return True
    if not is_written_as_one:
        return bool(TALK_TO.search(before))
    inside = _is_inside(text, word) and (whole or word.key not in words_in("titles"))
    return inside or bool(CALL.search(before))
