"""Who is named in a text, and how: called upon, spoken to, merely named, spoken about, or refused.
Knows names and punctuation; nothing of vectors, models or who is likely to be meant.

A name counts in any case and accent, by any alias, by a part of itself, and with a slip of the keyboard. What stands
inside quotation marks or code is somebody else's words and names nobody, unless the name is all that is quoted.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib import resources
from itertools import islice
from unicodedata import category, normalize

from registry.names import JOINERS, fold

LONGEST_TEXT = 20_000  # characters looked at: whoever is meant is named at the beginning or at the end
LONGEST_NAME = 8  # words
REACH = 200  # characters around a name in which its manner shows
MOST = 100  # names of one text
SHORTEST_PART = 3  # letters of a part of a name that may stand for the whole
SHORTEST_SLIP = 5  # letters of a word in which one wrong letter is forgiven; from 8 on, two
SHORTEST_SMALL_SLIP = 7  # the same where it is written small: "black holes" are not Holmes

MARKS = "".join(letter for letter in map(chr, range(0x300, 0x10000)) if category(letter)[0] == "M") + "".join(JOINERS)
LETTERS = rf"(?:[^\W_][{MARKS}]*)+"  # vowel signs are marks in Indic scripts, and no \w
WORD = re.compile(rf"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|{LETTERS}(?:['’-]{LETTERS})*")
QUOTED = re.compile(
    r"```(?:(?!```).){0,4000}```|`[^`]{0,400}`|\"[^\"]{0,2000}\"|“[^”]{0,2000}”|„[^“”]{0,2000}[“”]|«[^»]{0,2000}»"
    r"|「[^」]{0,2000}」|(?<!\w)'[^'\n]{0,200}'(?!\w)",
    re.DOTALL,
)
SENTENCE_END = re.compile(r"[.!?。！？\n]")

CALL = re.compile(
    r"(?:\b(?:answer|answers|speak|speaks|reply|respond|act|talk|write|pose|explain|say|tell me|play|sing|pretend|go on"
    r"|continue)\b[^.!?,;]{0,80}?\b(?:as|like)"
    r"|^\W*as|[,;:—-]\s*as|\b(?:now|then|but|and|or|rather|only|no)\s+as"
    r"|\b(?:talk|speak|chat|switch|change|hand over|over|back|listen)\s+(?:to|with)"
    r"|\blet|\bbring(?:\s+(?:in|me|back))?|\bsummon|\bfetch|\bget\s+me|\bgive\s+me|\bput\s+on|\bask"
    r"|\bi\s+(?:want|need)|\bi\s*(?:'d|would)\s+like(?:\s+to\s+hear)?|\byou\s+are(?:\s+now)?|\bbe|\bbecome"
    r"|\bsprich\s+als|\bantworte\s+als|\bals|\bcomme|\ben\s+tant\s+que|\bcomo|扮演|作为|以|让|请|找|问|叫)"
    r"(?:\s+(?:the|dear|old|great|my|our))*\s*$",
    re.IGNORECASE,
)
CORRECTION = re.compile(r"(?:\bno|\bactually|\brather|\bi\s+mean(?:t)?|\bsorry|\bwait|\bbut|\binstead)[\s,:—-]*$", re.I)
ASKED = re.compile(  # a question to whoever is there, in which "talk to", "ask" or "be" call upon nobody
    r"\b(?:did|do|does|have|had|were|was|would|will|why|what|when|where|how)\b[^.!?]{0,80}?\byou\b"
    r"|\b(?:bist|hast|hattest|warst|würdest|kennst)\s+du\b",
    re.IGNORECASE,
)
IN_THE_GUISE = re.compile(r"\b(?:answer|speak|reply|respond|act|talk|write|pose|go on|continue)\b[^.!?,;]{0,80}?\bas"
                          r"(?:\s+(?:the|dear|old|great|my|our))*\s*$", re.IGNORECASE)  # fmt: skip
IN_THE_PART = ("的身份", "的口吻", "的语气", "的角色", "的样子")
REFUSAL = re.compile(
    r"(?:\bnot|\bno\s+longer|\binstead\s+of|\brather\s+than|\bstop\s+being|\banyone\s+but|\bexcept|\bnever|\bwithout"
    r"|不要|别)(?:\s+(?:as|like|to|with|be|being|the))*\s*$",
    re.IGNORECASE,
)
ABOUT = re.compile(
    r"\b(?:about|with|of|by|against|from|on|for|to|than|and|between|meet|met|know|knew|known|love|loved|hate|hated|kill"
    r"|killed|remember|marry|married|like|liked|admire|see|saw|trust|fight|fought|toward|towards|was|is|were|are|did"
    r"|does|do|when|if|that|over|before|after|called|named|unlike|regarding|concerning)"
    r"(?:\s+(?:the|a|an|your|dear|old|great|young))*\s*$",
    re.IGNORECASE,
)
YOU = re.compile(
    r"\b(?:you|your|yours|yourself|du|dein\w*|sie|ihr\w*|tu|toi|votre|vous|usted|tus?)\b|[你您]", re.IGNORECASE
)
NEGATED = re.compile(  # "do not answer as", "I don't want to talk to"; not "can't you answer as", "don't be shy but be"
    r"(?<!why )(?:\b(?:not|never|stop|no\s+longer)\b|n['’]t\b(?!\s+(?:i|you|we|it|he|she|they)\b))"
    r"(?:(?!\b(?:but|wait|why|so|then|what|whom?|whether|mind|matter|let\s+me|be\s+better|i\s+want|and)\b|\s[-–]\s)"
    r"[^,;:—()])*$",
    re.IGNORECASE,
)
CASTING = (r"(?i:answer|speak|reply|respond|act|talk|pose|go on|continue)\b[^.!?,;]{0,80}?\b(?i:as)"
           r"|(?i:pretend\s+to\s+be|switch\s+to)")  # fmt: skip
CALLING = r"(?i:you\s+are(?:\s+now)?|let|talk\s+to|speak\s+to|chat\s+with|ask)"  # or so one speaks to whoever is there
SOMEBODY = r"\s+(?P<name>[A-Z][^\W_]+(?:\s+[A-Z][^\W_]+){0,2})"
CAST_SOMEBODY = re.compile(rf"\b(?:{CASTING}){SOMEBODY}")
CALL_ON_SOMEBODY = re.compile(rf"\b(?:{CASTING}|{CALLING}){SOMEBODY}")


class Manner(IntEnum):
    """How somebody is named; what stands higher decides before what stands lower."""

    REFUSED = 0
    TOPIC = 1
    NAMED = 2
    ADDRESSED = 3
    CALLED = 4


@dataclass(frozen=True)
class Mention:
    """A stretch of the text that may stand for any of `owners`."""

    owners: frozenset[int]
    text: str
    start: int
    manner: Manner


@dataclass(frozen=True)
class _Token:
    key: str
    start: int
    end: int


@cache
def words_in(file: str) -> frozenset[str]:
    """A list of words that ships with the gate: `common` are names only when they are written or placed as one,
    `greetings` may stand before the name of whoever is spoken to, and `courtesy` beside a name that answers "who?"."""
    return frozenset((resources.files("recipes") / "gate_data" / f"{file}.txt").read_text(encoding="utf-8").split())


class Names:
    """Everybody's names and aliases, ready to be found in a text."""

    def __init__(self, handles: Mapping[int, list[str]]) -> None:
        self._whole: dict[tuple[str, ...], set[int]] = {}
        self._parts: dict[str, set[int]] = {}
        self._slips: dict[tuple[str, int], list[str]] = {}  # (first letter, length) -> words of names
        for owner, names in handles.items():
            for name in names:
                self._add(tuple(token.key for token in _tokens(normalize("NFC", name))), owner)
        for part in self._parts.keys() | {key[0] for key in self._whole if len(key) == 1}:
            self._slips.setdefault((part[0], len(part)), []).append(part)

    def _add(self, key: tuple[str, ...], owner: int) -> None:
        if not key:
            return
        self._whole.setdefault(key[:LONGEST_NAME], set()).add(owner)
        for part in key if len(key) > 1 else ():
            if len(part) >= SHORTEST_PART and part not in words_in("common") and not part.isdigit():
                self._parts.setdefault(part, set()).add(owner)

    def mentions(self, text: str) -> list[Mention]:
        """Whoever is named, in the order of the text."""
        text = _both_ends(text)
        open_text = self._without_quotes(text)
        tokens = list(_tokens(open_text))
        return list(islice(self._found(open_text, tokens), MOST))

    def stranger(self, text: str, in_conversation: bool = False) -> str | None:
        """The name called upon last, when nobody here answers to it. In a conversation "you are Roman" and "talk to
        Brutus" are said to whoever speaks, and only a part to play calls upon somebody."""
        open_text = self._without_quotes(_both_ends(text))
        found = (CAST_SOMEBODY if in_conversation else CALL_ON_SOMEBODY).finditer(open_text)
        calls = [call for call in found if not ASKED.search(_sentence_until(open_text, call.start()))]
        if not calls:
            return None
        name = calls[-1]["name"].strip()
        known = [each for each in self.mentions(open_text) if each.start >= calls[-1].start("name")]
        ordinary = all(token.key in words_in("common") for token in _tokens(name))
        return None if known or ordinary else name

    def besides_names(self, text: str) -> list[str]:
        """The words of a text that name nobody."""
        text = _both_ends(text)
        spans = [(each.start, each.start + len(each.text)) for each in self.mentions(text)]
        return [token.key for token in _tokens(text) if not any(start <= token.start < stop for start, stop in spans)]

    def _without_quotes(self, text: str) -> str:
        """Blanks for what is quoted, so that places stay what they are; a quoted name alone stays readable."""

        def blank(match: re.Match[str]) -> str:
            inner = tuple(token.key for token in _tokens(match[0]))
            if inner in self._whole:
                return " " + match[0][1:-1] + " "
            return " " * len(match[0])

        return QUOTED.sub(blank, text)

    def _found(self, text: str, tokens: list[_Token]) -> Iterator[Mention]:
        place, before = 0, None
        while place < len(tokens):
            length, owners = self._at(text, tokens, place)
            if owners:
                first, last = tokens[place], tokens[place + length - 1]
                manner = _manner(text, first.start, last.end)
                if before and before.manner == Manner.ADDRESSED and _is_listed(text, before, first.start, last.end):
                    manner = Manner.ADDRESSED
                before = Mention(frozenset(owners), text[first.start : last.end], first.start, manner)
                yield before
            place += max(1, length)

    def _at(self, text: str, tokens: list[_Token], place: int) -> tuple[int, set[int]]:
        """(words, owners) of the longest name that begins here."""
        for length in range(min(LONGEST_NAME, len(tokens) - place), 0, -1):
            key = tuple(token.key for token in tokens[place : place + length])
            if key in self._whole and (length > 1 or self._is_a_name(text, tokens[place], whole=True)):
                return length, self._whole[key]
        token = tokens[place]
        if not self._is_a_name(text, token):
            return 1, set()
        owners, length = self._of_word(text, token), 1
        while owners and place + length < len(tokens):  # "Sherlok Holms": further words that fit the same owners
            both = owners & self._of_word(text, tokens[place + length], SHORTEST_SLIP)
            if not both:
                break
            owners, length = both, length + 1
        return length, owners

    def _of_word(self, text: str, token: _Token, shortest_slip: int | None = None) -> set[int]:
        owners = self._parts.get(token.key, set()) | self._whole.get((token.key,), set())
        shortest = shortest_slip or (SHORTEST_SLIP if text[token.start].isupper() else SHORTEST_SMALL_SLIP)
        return owners or (self._nearly(token.key) if len(token.key) >= shortest else set())

    def _nearly(self, word: str) -> set[int]:
        """Owners of the names that one slip (two in long words) turns into `word`, its first letter excepted."""
        if word in words_in("common"):
            return set()
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import extract

        slips = 1 if len(word) < 8 else 2
        near = [name for length in range(len(word) - slips, len(word) + slips + 1)
                for name in self._slips.get((word[0], length), ())]  # fmt: skip
        hits = extract(word, near, scorer=OSA.distance, score_cutoff=slips, limit=None)
        best = min((hit[1] for hit in hits), default=0)
        return {owner for name, distance, _ in hits if distance == best
                for owner in self._parts.get(name, set()) | self._whole.get((name,), set())}  # fmt: skip

    @staticmethod
    def _is_a_name(text: str, token: _Token, whole: bool = False) -> bool:
        """Whether a single word may be a name: no everyday one, or one that is written or placed as a name; where it is
        a `whole` name, like "Doctor", whoever is spoken to by it is meant."""
        if token.key not in words_in("common"):
            return True
        if whole and _is_addressed(text, _sentence_until(text, token.start), token.start, token.end):
            return True
        if not text[token.start].isupper():
            return False
        before = text[max(0, token.start - REACH) : token.start]
        inside = bool(before.strip(" \t\"'“(—-")) and not SENTENCE_END.search(before.rstrip()[-1:])
        return inside or bool(CALL.search(before))


def _tokens(text: str) -> Iterator[_Token]:
    """Words, of a text whose letters are composed (NFC)."""
    for match in WORD.finditer(text):
        word = re.sub(r"['’]s$", "", match[0])
        yield _Token(fold(word), match.start(), match.end())


def _both_ends(text: str) -> str:
    text = normalize("NFC", text)  # as names are compared: letters with their accents, however they were typed
    text = re.sub(r"[^\S\n\t]", " ", text)  # in French one that does not break stands before a colon
    if len(text) <= LONGEST_TEXT:
        return text
    return text[: LONGEST_TEXT // 2] + "\n" + text[-LONGEST_TEXT // 2 :]


def _sentence_until(text: str, place: int) -> str:
    """What of a sentence stands before a place in it."""
    return SENTENCE_END.split(text[max(0, place - REACH) : place])[-1]


def _manner(text: str, start: int, end: int) -> Manner:
    before = _sentence_until(text, start)
    after = SENTENCE_END.split(text[end : end + REACH])[0]
    possessive = text[:end].endswith(("'s", "’s")) or after.startswith("的") and not after.startswith(IN_THE_PART)
    if REFUSAL.search(before) or _is_called(before) and NEGATED.search(before) and "why" not in before.lower().split():
        return Manner.REFUSED
    if not possessive and (_is_corrected(before, after) or _is_called(before)):
        return Manner.CALLED
    if _is_addressed(text, before, start, end):
        return Manner.ADDRESSED
    if possessive or ABOUT.search(before) and YOU.search(before + " " + after):
        return Manner.TOPIC
    return Manner.NAMED


def _is_corrected(before: str, after: str) -> bool:
    """ "No, I meant Ada": nothing is told of her, which "But Ada wrote it" does."""
    if not CORRECTION.search(before) or before.strip(" ,;:—-").lower() == "no":
        return False
    return not after[:1].isspace() or after.split()[:1] in ([], ["please"])


def _is_called(before: str) -> bool:
    call = CALL.search(before)
    return call is not None and (bool(IN_THE_GUISE.search(before)) or not ASKED.search(before[: call.start()]))


def _is_listed(text: str, before: Mention, start: int, end: int) -> bool:
    """Whether a name follows one that is spoken to, in "Caesar, Cleopatra: listen"."""
    between = text[before.start + len(before.text) : start]
    return not between.strip(" ,&，、") and text[end : end + 1] in (",", ":", "!", "?", "，", "：")


def _is_addressed(text: str, before: str, start: int, end: int) -> bool:
    """Spoken to: first in the sentence with a comma or colon behind, or last with a comma before."""
    behind = text[end : end + REACH].lstrip(" \t)")
    words = {token.key for token in _tokens(before)}
    at_front = words <= words_in("greetings") and (
        behind[:1] in (",", "!", "?", ":", "，", "！", "：", "—") or not behind
    )
    at_back = before.rstrip().endswith((",", "，")) and behind[:1] in ("", "?", "!", ".", ",", "？", "！", "。", "，")
    return at_front or at_back
