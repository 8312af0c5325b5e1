"""How somebody is named in a text: called upon, spoken to, merely named, spoken about, or refused.
Knows what stands around a name; nothing of whose it is.
"""

import re
from enum import IntEnum

from recipes.words import REACH, sentence_from, sentence_until, words, words_in

DEAR = r"(?:\s+(?:the|dear|old|great|my|our))*\s*$"  # what may stand between a call and a name
CALL = re.compile(
    r"(?:\b(?:answer|answers|speak|speaks|reply|respond|act|talk|write|pose|explain|say|tell me(?!\s+about)|play|sing"
    r"|pretend|go on|continue)\b[^.!?,;]{0,80}?\b(?:as|like)"
    r"|^\W*as|[,;:—-]\s*as|\b(?:now|then|but|and|or|rather|only|no)\s+as"
    r"|\b(?:talk|speak|chat|switch|change|hand over|over|back|listen)\s+(?:to|with)"
    r"|\blet|\bbring(?:\s+(?:in|me|back))?|\bsummon|\bfetch|\bget\s+me|\bgive\s+me|\bput\s+on|\bask"
    r"|\bi\s+(?:want|need)|\bi\s*(?:'d|would)\s+like(?:\s+to\s+hear)?|\byou\s+are(?:\s+now)?|\bbe|\bbecome"
    r"|\b(?:sprich|antworte|rede|schreib|spiel|parle|réponds|écris|joue|habla|responde|escribe|actúa)\b[^.!?,;]{0,80}?"
    r"\b(?:als|wie|comme|como)|^\W*(?:als|comme|como|en\s+tant\s+que)|[,;:]\s*(?:als|comme|como)"
    rf"|扮演|作为|以|让|请|找|问|叫){DEAR}",
    re.IGNORECASE,
)
CORRECTION = re.compile(r"(?:\bno|\bactually|\brather|\bi\s+mean(?:t)?|\bsorry|\bwait|\bbut|\binstead)[\s,:—-]*$", re.I)
ASKED = re.compile(  # a question to whoever is there, in which "talk to", "ask" or "be" call upon nobody
    r"\b(?:did|do|does|have|had|were|was|would|will|why|what|when|where|how)\b[^.!?]{0,80}?\byou\b"
    r"|\b(?:bist|hast|hattest|warst|würdest|kennst)\s+du\b",
    re.IGNORECASE,
)
TOLD = re.compile(  # "it must be Ada", "you let Ada down", "if you ask Ada": nor does what is said of somebody
    r"(?:\b(?:must|might|may|it|he|she|they|should|always|if\s+you)|(?<!can )(?<!could )(?<!want )\byou)\s*$", re.I
)
IN_THE_GUISE = re.compile(
    rf"\b(?:answer|speak|reply|respond|act|talk|write|pose|go on|continue)\b[^.!?,;]{{0,80}}?\bas{DEAR}", re.IGNORECASE
)
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
POLITELY = re.compile(  # "can you tell me about Ada" asks for no more than "tell me about Ada"
    r"\b(?:can|could|will|would)\s+you\b(?=\s+(?:please\s+)?(?:tell|explain|teach|say|describe))", re.IGNORECASE
)
NEGATED = re.compile(  # "do not answer as", "I don't want to talk to"; not "can't you answer as", "don't be shy but be"
    r"(?<!why )(?:\b(?:not|never|stop|no\s+longer)\b|n['’]t\b(?!\s+(?:i|you|we|it|he|she|they)\b))"
    r"(?:(?!\b(?:but|wait|why|so|then|what|whom?|whether|mind|matter|let\s+me|be\s+better|i\s+want|and)\b|\s[-–]\s)"
    r"[^,;:—()])*$",
    re.IGNORECASE,
)
TO_ONE = re.compile(  # behind a name without a comma: "ada what do you think"
    r"(?:(?:and|so)\s+)?(?:what|how|who|where|when|why|do|did|are|were|can|could|will|would|have)\b[^.!?]*?\byou\b"
    r"|tell me\b|please\b",
    re.IGNORECASE,
)
OF_ONE = re.compile(r"\b(?:(?:how|where|who|what)\b[^.!?,;]*\byou|thanks|thank you|bye|goodbye|your turn)\s*$", re.I)
ACTED = re.compile(rf"\*[^*\n]{{0,100}}\b(?:to|at|towards?){DEAR}", re.IGNORECASE)  # "*turns to Ada* Well?"
GOES_ON = "'’(&/\"“"  # behind a name that nobody is spoken to by


class Manner(IntEnum):
    """How somebody is named; what stands higher decides before what stands lower."""

    REFUSED = 0
    TOPIC = 1
    NAMED = 2
    ADDRESSED = 3
    CALLED = 4


def manner(text: str, start: int, end: int) -> Manner:
    """Of a name, titles included, in a tidied text."""
    before, after = sentence_until(text, start), sentence_from(text, end)
    if REFUSAL.search(before) or is_called(before) and NEGATED.search(before) and "why" not in before.lower().split():
        return Manner.REFUSED
    possessive = is_possessive(text, end)
    if not possessive and (_is_corrected(before, after) or is_called(before)):
        return Manner.CALLED
    if is_set_apart(text, start, end) or _is_spoken_to(text, start, end):
        return Manner.ADDRESSED
    if (possessive or ABOUT.search(before)) and YOU.search(f"{POLITELY.sub('', before)} {after}"):
        return Manner.TOPIC
    return Manner.NAMED


def is_possessive(text: str, end: int) -> bool:
    """Whether something of theirs is named."""
    after = text[end : end + REACH]
    return text[:end].endswith(("'s", "’s")) or after.startswith("的") and not after.startswith(IN_THE_PART)


def is_called(before: str) -> bool:
    """Whether what stands before a name calls upon it."""
    call = CALL.search(before)
    if call is None or IN_THE_GUISE.search(before):
        return call is not None
    return not ASKED.search(before[: call.start()]) and not TOLD.search(before[: call.start()])


def _is_corrected(before: str, after: str) -> bool:
    """ "No, I meant Ada": nothing is told of her, which "But Ada wrote it" does."""
    if not CORRECTION.search(before) or before.strip(" ,;:—-").lower() == "no":
        return False
    return not after[:1].isspace() or after.split()[:1] in ([], ["please"])


def is_set_apart(text: str, start: int, end: int) -> bool:
    """Spoken to, as punctuation tells: first in the sentence and no word behind, or last with a comma before."""
    before, behind = sentence_until(text, start), text[end : end + REACH].lstrip(" \t)")
    greets = {word.key for word in words(before)} <= words_in("greetings") | words_in("salutations")
    at_front = greets and not is_possessive(text, end) and not (behind[:1].isalnum() or behind[:1] in tuple(GOES_ON))
    at_back = before.rstrip().endswith((",", "，", "、")) and behind[:1] in ("", *"?!.,？！。，")
    return at_front or at_back


def _is_spoken_to(text: str, start: int, end: int) -> bool:
    """The same where punctuation is left out: "hey ada how are you", "ada what do you think", "how are you ada"; or
    turned to by what is played."""
    before, behind = sentence_until(text, start), text[end : end + REACH].lstrip()
    if is_possessive(text, end):
        return False
    greets = [word.key for word in words(before)]
    at_front = set(greets) <= words_in("salutations") and (bool(greets) or bool(TO_ONE.match(behind)))
    at_back = bool(OF_ONE.search(before)) and behind[:1] in ("", *"?!.")
    return at_front or at_back or bool(ACTED.search(before))


def is_listed(text: str, before: int, start: int, end: int) -> bool:
    """Whether a name follows one that ends at `before` and is spoken to, in "Caesar, Cleopatra: listen"."""
    between = text[before:start]
    return not between.strip(" ,&，、") and text[end : end + 1] in (",", ":", "!", "?", "，", "：")
