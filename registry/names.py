"""Names as people type them: folded for comparison, and the nearest ones when one is missed.
Knows nothing of characters or tables."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

ACCENTS = {chr(code) for code in range(0x300, 0x370)}  # of Latin, Greek and Cyrillic; kana's voicing marks are letters
JOINERS = {"\u200c", "\u200d"}  # between letters, in Persian and Sinhala among others; they show nothing
UNTOLD = ACCENTS | JOINERS  # between names that people take for the same
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")  # they would steer a terminal
NO_NAME = "must be one printable line without ##[ that does not begin with /, - or ::"
COHORT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # it becomes a folder
NEAREST_SHOWN = 3
MOST_NAMED = 8  # of many
NEAREST_CUTOFF = 55  # of 100, rapidfuzz's WRatio: below this a suggestion is noise


def as_utf8(text: str) -> str:
    """What was typed, whatever bytes it held: half a letter, as an argument may have it, becomes a question mark."""
    return text.encode(errors="replace").decode()


def fold(name: str) -> str:
    """The key two names share when only case, accents, width or spacing differ.

    >>> fold("  Chloé   O'Brien ") == fold("CHLOE O'BRIEN")
    True
    """
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    bare = "".join(mark for mark in decomposed if mark not in UNTOLD)
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", bare).casefold()).strip()


def is_a_name(text: str) -> bool:
    """Whether a character may be called so: printable, and a command of neither the chat, the shell nor a CI runner."""
    a_command = text.lstrip().startswith(("/", "-", "::")) or "##[" in text
    printable = "".join(mark for mark in text if mark not in JOINERS).isprintable()
    return printable and bool(fold(text)) and not a_command


def spaced(name: str) -> str:
    """A name with every kind of space a plain one, as it can be typed.

    >>> spaced("Mr.\\u00a0Holmes")
    'Mr. Holmes'
    """
    return "".join(" " if unicodedata.category(mark) == "Zs" else mark for mark in name)


def slug(name: str) -> str:
    """A name as part of a file's; empty when it has no letter.

    >>> slug("Isaac  Newton!")
    'isaac-newton'
    """
    return re.sub(r"[^\w]+", "-", fold(name)).strip("-")


def some_of(names: Sequence[str]) -> str:
    """The first of many, and how many more."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def counted(number: int, what: str) -> str:
    """
    >>> counted(1, "probe"), counted(2, "probe")
    ('1 probe', '2 probes')
    """
    return f"{number} {what}" + "s" * (number != 1)


def nearest(name: str, known: Iterable[str], cutoff: int = NEAREST_CUTOFF) -> list[str]:
    """Up to `NEAREST_SHOWN` of the known names that look most like `name`, best first; `cutoff` of 100 at least."""
    from rapidfuzz import fuzz, process  # late: only a miss needs it

    hits = process.extract(
        fold(name),
        {full: fold(full) for full in known},
        scorer=fuzz.WRatio,
        limit=NEAREST_SHOWN,
        score_cutoff=cutoff,
    )
    return [full for _, _, full in hits]
