"""How somebody is named in a text: called upon, spoken to, merely named, spoken about, or refused.
Knows what stands around a name; nothing of whose it is.
"""

import re
from enum import IntEnum

from recipes.words import CAPITALS, COMMAS, REACH, STOPS, sentence_from, sentence_until, words, words_in

DEAR = r"(?:\s+(?:the|dear|old|great|my|our))*\s*$"  # what may stand between a call and a name
PART = r"(?:voice|style|tone|manner|role|part|person|character)"  # that somebody else may take
SPEAK = r"(?:answer|speak|reply|respond|act|talk|write|pose|role-?\s?play|rp|go on|continue)"
PLAY = rf"(?:{SPEAK}|answers|speaks|explain|say|tell me(?!\s+about)|play|sing|pretend)"
AS = rf"(?:as(?:\s+(?:if|though)\s+you\s+(?:were|are))?|in\s+the\s+{PART}\s+of)"
VIEW = r"(?:why|what|who|how|if|that|you|i|we|they)"  # of what is liked: "tell me why you like Ada"
ORDER = (  # unless a statement leads up to it: "people listen to"
    rf"{PLAY}\b[^.!?,;]{{0,80}}?\b{AS}|{PLAY}\b(?:(?!\b{VIEW}\b)[^.!?,;]){{0,80}}?\blike"
    r"|(?:talk|speak|chat|listen)\s+(?:to|with)"
    r"|(?:switch|change|connect|hand)(?:\s+(?:me|us))?(?:\s+(?:over|back))?\s+(?:to|with)|(?:over|back)\s+to"
    r"|let|bring(?:\s+(?:in|me|back))?|summon|fetch|get\s+me|give\s+me|put\s+on|ask|be|become"
)
WISH = r"i\s+(?:want|need|choose|summon)|i\s*(?:'d|would)\s+like(?:\s+to\s+hear)?"
CAST = r"you\s+are(?:\s+now)?"  # unless it is believed or asked
ALONE = r"^\W*as|[,;:—-]\s*as|\b(?:now|then|but|and|or|rather|only|no)\s+as"  # unless it is told of: "as Ada said"
ABROAD = (
    r"\b(?:sprich|antworte|rede|schreib|spiel|parle|réponds|écris|joue|habla|responde|escribe|actúa)\b[^.!?,;]{0,80}?"
    r"\b(?:als|wie|comme|como)|^\W*(?:als|comme|como|en\s+tant\s+que)|[,;:]\s*(?:als|comme|como)"
    r"|(?<!我)(?<!我[要想来])(?:扮演|作为)|(?<![所可])以|(?:^|[\s，。！？,.!?请想能]|可以|我要)(?:让|请|找|问|叫)"
    r"|你(?:现在|就)?是|[想要][和跟与]"
)
CALL = re.compile(
    rf"(?:\b(?P<order>{ORDER})|\b(?:{WISH})|\b(?P<cast>{CAST})|(?P<alone>{ALONE})|{ABROAD}){DEAR}",
    re.IGNORECASE,
)
HANDED = re.compile(r"(?:let|bring|fetch|get|give|ask|i\s+want|i\s+need)\b", re.IGNORECASE)  # calls that have an end:
OVER = re.compile(  # "let Ada answer", "ask Ada what", and not "let Ada have it", "I want Ada dead"
    rf"\s*(?:$|[^\w\s'’]|(?:please|now|here|back|in|over|instead|again|to(?!\s+(?:the|a|my)\b)|and|or|not|today|then|about|if"
    rf"|what|why|how|who|where|when|whether|this|that|{PLAY}|teach|show|take|finish|handle|try|join|decide|do|help)\b)",
    re.IGNORECASE,
)
MY_PART = re.compile(  # that the user takes: "can I be Ada", "let me be Ada", "may I talk to you as Ada"
    r"\b(?:i|me|we|us)\b(?:(?!\b(?:you|your|some\w+|any\w+|who)\b)[^.!?,;:—])*\b(?:(?:be|being|become|play|playing)"
    rf"|(?:play|playing|{SPEAK}(?:ing)?\b[^.!?,;:—]{{0,20}}?)\s+as){DEAR}|\b(?:talk|speak)(?:ing)?\s+to\s+you\s+as{DEAR}"
    rf"|\bas\s+(?:if|though)\s+i\s+(?:was|were){DEAR}|\b(?:it|this)(?:\s+is|['’]s)\s+(?:only\s+|just\s+)?(?:me|i),\s*$",
    re.IGNORECASE,
)
IN_THE_GUISE = re.compile(rf"\b{SPEAK}\b[^.!?,;]{{0,80}}?\b{AS}{DEAR}", re.IGNORECASE)
BORROWED = re.compile(rf"\b{SPEAK}\b[^.!?,;]{{0,80}}?\bin{DEAR}", re.IGNORECASE)
THEIR_PART = re.compile(rf"\s+{PART}\b", re.IGNORECASE)
COMPARED = re.compile(rf"\bas\s+\w+\s+as{DEAR}", re.IGNORECASE)  # "as clever as Ada", "as soon as Ada comes"
TOLD_OF = re.compile(  # "as Ada once said": no part to play
    r"\s+(?:once\s+|always\s+|often\s+)?(?:said|says|put|wrote|told|knew|knows|saw|was|is|did|does|had|has|\w+ed"
    r"|would\s+(?:say|have))\b",
    re.IGNORECASE,
)
BELIEVED = re.compile(  # "I think you are Ada", "if you are Ada"
    r"\b(?:think|thought|guess|know|knew|say|said|believe|hear|heard|hope|see|bet|feel|sure|if|because|since)"
    r"(?:\s+that)?\s*$",
    re.IGNORECASE,
)
OTHERS_WISH = re.compile(  # "he would like to talk to", "my mother wants to talk to"
    r"\b(?:(?:he|she|they|people)\b(?:(?!\b(?:i|we)\b)[^,;:—])*|(?!(?:is|us)\b)\w+s\s+)\bto\s*$", re.IGNORECASE
)
DUTY = re.compile(  # "I have to talk to", "I tried to", "it was hard to"; not "it is time to"
    r"\b(?:have|has|had|going|went|tried|about|how|remember|promised?|too\s+\w+"
    r"|(?:it\s+(?:is|was)|it['’]s|is\s+it|was\s+it)\s+(?!time|your|my)\w+)(?:\s+(?:me|us))?\s+to\s*$",
    re.IGNORECASE,
)
MAY_I = ("can", "could", "may", "might", "shall", "will")  # ask for somebody, where "should I" asks for advice
LAST_TWO = re.compile(r"[\w']+|[^\w\s]")
CORRECTION = re.compile(
    r"(?:(?<!is )(?<!was )\bno|\bactually|\brather|\bi\s+mean(?:t)?|\bsorry|\bwait|\bbut|\binstead)[\s,:—-]*$", re.I
)
ASKED = re.compile(  # a question to whoever is there, in which "talk to", "ask" or "be" call upon nobody
    r"\b(?:did|do|does|have|had|were|was|would|will|why|what|when|where|how)\b[^.!?]{0,80}?\byou\b"
    r"(?!\s+(?:please\s+)?let\s+(?:me|us)\b)"
    r"|\b(?:bist|hast|hattest|warst|würdest|kennst)\s+du\b",
    re.IGNORECASE,
)
IN_THE_PART = ("的身份", "的口吻", "的语气", "的角色", "的样子")
UNWANTED = (
    r"i(?:\s+am|'m)\s+not\s+(?:talking|speaking)"
    r"|i\s+(?:do\s+not|don't|no\s+longer|never)\s+(?:want|need)(?:\s+to\s+hear)?"
)
REFUSAL = re.compile(
    r"(?:\bnot|\bno\s+longer|\binstead\s+of|\brather\s+than|\bstop\s+being|\b(?:any|every)(?:one|body)\s+but|\bexcept"
    rf"|\bnever|\bwithout|\byou\s+are\s+no|\b(?:{UNWANTED})|(?:不[要想用许]|别)(?:再?[让请找问叫以]|扮演|作为|[和跟与])?)(?:\s+(?:as|like|to|with|be|being|the))*\s*$",
    re.IGNORECASE,
)
ABOUT = re.compile(
    r"\b(?:about|with|of|by|against|from|on|for|to|than|and|between|meet|met|know|knew|known|love|loved|hate|hated|kill"
    r"|killed|remember|marry|married|like|liked|admire|see|saw|trust|fight|fought|toward|towards|was|is|were|did"
    r"|does|do|when|if|that|over|before|after|called|named|unlike|regarding|concerning|(?<!you )are)"
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
    r"(?<!why )(?:\b(?:not|never|stop|i\s+refuse|no\s+longer)\b|n['’]t\b(?!\s+(?:i|you|we|it|he|she|they)\b))"
    r"(?:(?!\b(?:but|wait|why|so|then|what|whom?|whether|mind|matter|let\s+me|be\s+better|i\s+want|and)\b|\s[-–]\s)"
    r"[^,;:—()])*$",
    re.IGNORECASE,
)
TO_ONE = re.compile(  # behind a name without a comma: "ada what do you think"
    r"(?:(?:and|so)\s+)?(?:what|how|who|where|when|why|do|did|are|were|can|could|will|would|have)\b[^.!?]*?\byou\b"
    r"|is\s+(?:that|it|this)\s+you\b|what\s+now\b|what['’]?s\s+(?:up|new|wrong|going\s+on)\b|tell me\b|please\b",
    re.IGNORECASE,
)
OF_ONE = re.compile(  # before one: "how are you ada", "are you sure ada"
    r"\b(?:(?:how|where|who|what)\b[^.!?,;]*\byou(?:\s+(?:think|say|mean|want|need|feel|doing))?"
    r"|you\b[^.!?,;]*\b(?:that|it|now|today|then|there|sure)|tell me more"
    r"|thanks|thank you|bye|goodbye|your turn)\s*$",
    re.IGNORECASE,
)
ACTED = re.compile(rf"\*[^*\n]{{0,100}}\b(?:to|at|towards?){DEAR}", re.IGNORECASE)  # "*turns to Ada* Well?"
APPOSED = re.compile(  # before a comma and a name that are no address: "my sister, Anna, left"
    r"\W*(?:(?:even|so|and|but)\s+)?(?:my|our|his|her|their|your|the|an?|one)(?:\s+(?!(?:is|was|are|were)\b)[\w'-]+){1,3},\s*",
    re.IGNORECASE,
)
ROW = rf"[{CAPITALS}][\w'’-]*,\s*"  # of names, of which none is an address: "Ada, Homer, and Max left"
IN_A_ROW = re.compile(rf"\b{ROW}{ROW}$")
ROW_BEGUN, ROW_GOES_ON = re.compile(rf"\b{ROW}$"), re.compile(rf",\s*(?:(?:and|or|&)\s+)?[{CAPITALS}]")
TOLD_MORE = re.compile(r",\s*(?:who|whose|whom)\b", re.IGNORECASE)  # behind one: "Sven, who loves carrots"
TO_WHOM = re.compile(r"\W*(?:to|for)\s*", re.IGNORECASE)  # "to ada: how are you"
ITEM = re.compile(r"[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+")  # of a list
JOINT = re.compile(r"\s+(?:and|or|&|und|oder|et|ou|y|o)\s+", re.IGNORECASE)
ENDS = ("", *COMMAS, *STOPS)  # what may stand behind the name of whoever is spoken to
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
    possessive = is_possessive(text, end)
    if MY_PART.search(before):
        return Manner.NAMED
    called = _is_borrowed(before, after) if possessive else _is_called(before, text[end : end + REACH])
    refused = not possessive and REFUSAL.search(before)
    if refused or called and NEGATED.search(before) and "why" not in before.lower().split():
        return Manner.REFUSED
    if called:
        return Manner.CALLED
    if not possessive and _is_corrected(before, after):
        return Manner.CALLED
    if is_set_apart(text, start, end) or is_spoken_to(text, start, end):
        return Manner.ADDRESSED
    if (possessive or ABOUT.search(before)) and YOU.search(f"{POLITELY.sub('', before)} {after}"):
        return Manner.TOPIC
    return Manner.NAMED


def is_possessive(text: str, end: int) -> bool:
    """Whether something of theirs is named."""
    after = text[end : end + REACH]
    return text[:end].endswith(("'s", "’s")) or after.startswith("的") and not after.startswith(IN_THE_PART)


def _is_borrowed(before: str, after: str) -> bool:
    """Whether somebody's voice or part is called for: "speak in Ada's voice"."""
    return bool(BORROWED.search(before) and THEIR_PART.match(after)) and not ASKED.search(before)


def _is_called(before: str, after: str) -> bool:
    """Whether what stands before a name calls upon it."""
    call = CALL.search(before)
    if call is None or COMPARED.search(before):
        return False
    if call["alone"]:
        return not TOLD_OF.match(after)
    if IN_THE_GUISE.search(before):
        return True
    if HANDED.match(call[0]) and not OVER.match(after):
        return False
    further = before[: call.start()]
    is_statement = bool(call["order"]) and is_told(further)
    is_belief = bool(call["cast"]) and (bool(BELIEVED.search(further)) or after.lstrip().startswith("?"))
    return not (ASKED.search(further) or is_statement or is_belief)


def is_told(before: str) -> bool:
    """Whether what stands before an order makes it a statement: "people", "I", but not "can I"; "he wants to"."""
    *_, first, last = ["", "", *LAST_TWO.findall(before.lower())]
    if last in ("i", "we", "you"):  # "can I", "don't we", "would you", and not "I"
        asking = words_in("auxiliaries") if last == "you" else MAY_I
        return first not in asking and not first.endswith("n't")
    if last in ("can", "will", "shall"):  # "you shall be"
        return first != "you"
    begins_a_clause = not last[:1].isalpha() or last in words_in("openers") or last.endswith("n't")
    is_told_another = first in words_in("salutations")  # "ok sherlock let ada answer"
    return not (begins_a_clause or is_told_another) or bool(OTHERS_WISH.search(before) or DUTY.search(before))


def _is_corrected(before: str, after: str) -> bool:
    """ "No, I meant Ada": nothing is told of her, which "But Ada wrote it" does."""
    if not CORRECTION.search(before) or before.strip(" ,;:—-").lower() == "no":
        return False
    return not after[:1].isspace() or after.split()[:1] in ([], ["please"])


def is_set_apart(text: str, start: int, end: int) -> bool:
    """Spoken to, as punctuation tells: first in the sentence and no word behind, or last with a comma before."""
    before, behind = sentence_until(text, start), text[end : end + REACH].lstrip(" \t)")
    if _is_an_item(text, start, behind):
        return False
    greets = {word.key for word in words(before)} <= words_in("greetings") | words_in("salutations")
    at_front = greets and not is_possessive(text, end) and not (behind[:1].isalnum() or behind[:1] in tuple(GOES_ON))
    at_back = before.rstrip().endswith(tuple(COMMAS)) and behind[:1] in ENDS and not _is_told_beside(before, behind)
    return at_front or at_back or bool(TO_WHOM.fullmatch(before)) and behind[:1] in (":", "：")


def _is_told_beside(before: str, behind: str) -> bool:
    """Whether a name behind a comma is one of several, or says who somebody is: "my sister, Ada, left"."""
    if IN_A_ROW.search(before) or ROW_BEGUN.search(before) and ROW_GOES_ON.match(behind):
        return True
    return behind.startswith(tuple(COMMAS)) and bool(APPOSED.fullmatch(before) or TOLD_MORE.match(behind))


def _is_an_item(text: str, start: int, behind: str) -> bool:
    """Whether a name is all that a line of a list holds."""
    line = text[max(0, start - REACH) : start].rpartition("\n")[2]
    return bool(ITEM.fullmatch(line)) and behind[:1] in ("", "\n")


def is_spoken_to(text: str, start: int, end: int) -> bool:
    """The same where punctuation is left out: "hey ada how are you", "ada what do you think", "how are you ada"; or
    turned to by what is played."""
    before, behind = sentence_until(text, start), text[end : end + REACH].lstrip()
    if is_possessive(text, end):
        return False
    greets = {word.key for word in words(before)}
    hailed = bool(greets) and greets <= words_in("salutations") and not _is_told_of(text, start, end)
    asked = greets <= words_in("greetings") | words_in("salutations") and bool(TO_ONE.match(behind.lstrip(", ")))
    at_back = bool(OF_ONE.search(before)) and behind[:1] in ("", *STOPS)
    return hailed or asked or at_back or bool(ACTED.search(before))


def _is_told_of(text: str, start: int, end: int) -> bool:
    """Whether what follows a salutation and a name is no more said to somebody: "ok ada left", "hey rain is coming"."""
    after = text[end : end + REACH]
    if TOLD_OF.match(after) and not YOU.search(sentence_from(text, end)):
        return True
    behind = after.lstrip()
    is_a_word = text[start:end] in words_in("common")
    return is_a_word and not (TO_ONE.match(behind) or behind[:1] in ENDS)


def is_joined(text: str, before: int, start: int) -> bool:
    """Whether nothing but "and" or "or" stands between a name that ends at `before` and the next."""
    return bool(JOINT.fullmatch(text, before, start))


def is_listed(text: str, before: int, start: int, end: int) -> bool:
    """Whether a name follows one that ends at `before` and is spoken to, in "Caesar, Cleopatra: listen"."""
    listed = is_joined(text, before, start) or not text[before:start].strip(f" &{COMMAS}")
    return listed and text[end : end + 1] in (":", "：", *ENDS)
