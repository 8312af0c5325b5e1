"""What other programs' files are, and what is to be done with them, as the end of a sentence about a file.
Knows their marks; reads no file, and nothing of the schema.
"""

import json
import re

PNG = b"\x89PNG\r\n\x1a\n"

# A quote within JSON's text is escaped, so that these find keys alone.
CARD = re.compile(r'"(?:first_mes|mes_example)"\s*:|"spec"\s*:\s*"chara_card_')
SHAREGPT = [re.compile(rf'"{key}"\s*:') for key in ("conversations", "from", "value")]
KEYS_NAMED = 4  # of an object that is no conversation

ANEW = (
    "write a profile with `neekoctl profile new NAME`, put the description into persona and the example dialogues "
    "into the .jsonl (docs/recipes.md says how)"
)
ONE_A_LINE = "each line must be one conversation (docs/recipes.md has a script)"


def picture(head: bytes) -> str:
    """Of a file that begins so; nothing where it is none."""
    return f"is a PNG picture; if it is a character card, {ANEW}" if head == PNG else ""


def of_a_program(text: str) -> str:
    """Of JSON that another program wrote; nothing of any other text."""
    if not text.lstrip().startswith(("{", "[")):
        return ""
    if CARD.search(text):
        return f"is a character card; {ANEW}"
    if all(key.search(text) for key in SHAREGPT):
        return "holds ShareGPT's conversations; docs/recipes.md has a script that makes a .jsonl of them"
    return ""


def no_conversations(text: str) -> str:
    """Of a .jsonl whose first value is no conversation; where one line is broken, the line says so itself."""
    text = text.strip()
    first = text.partition("\n")[0].rstrip()
    if text.startswith("["):
        return of_a_program(text) or f"is one JSON array; {ONE_A_LINE}"
    if told := of_a_program(first):
        return told
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return ""
    if end > len(first):
        return f"begins a value of several lines; {ONE_A_LINE}"
    if isinstance(value, dict) and "messages" in value:
        return ""
    held = ", ".join(list(value)[:KEYS_NAMED]) if isinstance(value, dict) and value else "a value"
    return f"holds {held} and no `messages`; {ONE_A_LINE}"
