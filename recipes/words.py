"""The words of a text, in the form in which names are compared, and the lists of words that ship with the gate.
Knows letters and punctuation; nothing of names.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from unicodedata import category, normalize

from registry.names import JOINERS, fold

LONGEST_TEXT = 20_000  # characters looked at: whoever is meant is named at the beginning or at the end
REACH = 200  # characters around a name in which its manner shows

CJK = r"\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces: each is a word
MARKS = "".join(letter for letter in map(chr, range(0x300, 0x10000)) if category(letter)[0] == "M") + "".join(JOINERS)
CAPITALS = "".join(letter for letter in map(chr, range(0x10000)) if letter.isupper())
LETTERS = rf"(?:[^\W_{CJK}][{MARKS}]*)+"  # vowel signs are marks in Indic scripts, and no \w
WORD = re.compile(rf"[{CJK}]|{LETTERS}(?:['’-]{LETTERS})*")
ENDING = re.compile(r"['’](?:s|d|ll)$|-(?:chan|kun|san|sama|senpai|sensei|dono)$", re.IGNORECASE)  # no part of a name
DASH = re.compile(r"(?<=\w)[\u2010\u2011](?=\w)")  # what joins as a hyphen does
COMMAS, STOPS = ",，、،", ".!?。！？؟।۔"
SENTENCE_END = re.compile(rf"[{STOPS}\n]")
PLAYED = re.compile(r"\*[^*\n]{1,400}\*")  # what is done in a part, between asterisks
ABBREVIATED = re.compile(r"\b(?:mrs?|ms|dr|prof|st|mme|jr|e\.g|i\.e|vs|cf)\.", re.IGNORECASE)  # no sentence ends there
CONTRACTED = (("’", "'"), ("'re ", " are "), ("'ll ", " will "), ("annot ", "an not "))  # in any case


@dataclass(frozen=True)
class Word:
    """Where a word stands, and the key it is compared by."""

    key: str
    start: int
    end: int


@cache
def words_in(file: str) -> frozenset[str]:
    """A list of words that ships with the gate: `common` are names only when they are written or placed as one, those
    of the `dictionary` and `places` are no slips of one, `greetings` may stand before the name of whoever is spoken to,
    behind `salutations` it needs no comma, `courtesy` stands beside a name that answers "who?", `titles` before one,
    and behind `openers` begins an order, as it does behind "can I" and other `auxiliaries`."""
    return frozenset((resources.files("recipes") / "gate_data" / f"{file}.txt").read_text(encoding="utf-8").split())


def tidied(text: str) -> str:
    """A text with its letters composed, every space a plain one, and no stop behind a title; of a long one both ends.
    Places stay what they are."""
    text = normalize("NFC", text)  # as names are compared: letters with their accents, however they were typed
    text = re.sub(r"[^\S\n\t]", " ", text)  # in French one that does not break stands before a colon
    text = DASH.sub("-", text)
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT // 2] + "\n" + text[-LONGEST_TEXT // 2 :]
    return ABBREVIATED.sub(lambda match: match[0].replace(".", " "), text)


def words(text: str) -> Iterator[Word]:
    """Those of a tidied text."""
    for match in WORD.finditer(text):
        yield Word(fold(ENDING.sub("", match[0])), match.start(), match.end())


def sentence_until(text: str, place: int) -> str:
    """What of a sentence stands before a place in it, spelt out, and what was done before it left out."""
    before = SENTENCE_END.split(PLAYED.sub(" ", text[max(0, place - REACH) : place]))[-1]
    for short, long in CONTRACTED:
        before = before.replace(short, long)
    return before


def sentence_from(text: str, place: int) -> str:
    """What of a sentence stands behind a place in it."""
    return SENTENCE_END.split(text[place : place + REACH])[0]
