"""A check inside a GitHub action: annotations on the log, and a table in the step summary.
Knows the workflow commands and nothing of how anything was measured."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from neekoctl.checks.screen import found, headline, number, unjudged

SIGNS = {"pass": "✅", "regressed": "❌", "not checked": "⚪"}


def tell(document: dict[str, Any]) -> None:
    """An annotation a complaint, and the summary."""
    for name, section in document["sections"].items():
        kind = "error" if section["verdict"] == "regressed" else "warning"  # what is tolerated is told
        for words in section["complaints"]:
            _annotate(kind, f"neekoctl {name}", words)
        for words in unjudged(name, section):
            _annotate("warning", "neekoctl", words)
    _summarise(markdown(document))


def tell_error(sentence: str) -> None:
    """A check that could not run, on the log and in the summary."""
    _annotate("error", "neekoctl check", sentence)
    _summarise(f"## {SIGNS['regressed']} neekoctl check could not run\n\n{_cell(sentence)}\n\n")


def _annotate(kind: str, title: str, words: str) -> None:
    """On stderr: the runner reads both, and stdout is the document's. Whole lines, as no renderer leaves them."""
    print(f"::{kind} title={_property(title)}::{_data(words)}", file=sys.stderr)  # noqa: T201


def _summarise(text: str) -> None:
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(text)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def markdown(document: dict[str, Any]) -> str:
    """The report as GitHub renders it."""
    left_out = f", left out: {_cell(', '.join(document['left_out']))}" if document["left_out"] else ""
    lines = [f"## {SIGNS[document['verdict']]} neekoctl check: {document['verdict']}", ""]
    lines += [f"{document['checked']} checked at revision {document['revision']}{left_out}", ""]
    lines += ["| | section | |", "|---|---|---|"]
    lines += [f"| {SIGNS[section['verdict']]} | {name} | {_cell(headline(name, section))} |"
              for name, section in document["sections"].items()]  # fmt: skip
    lines += ["", "| character | forgetting | replies | found | |", "|---|---:|---:|---:|---|"]
    lines += [_row(each) for each in document["characters"]]
    return "\n".join(lines) + "\n\n"


def _row(each: dict[str, Any]) -> str:
    return (f"| {_cell(each['name'])} | {number(each['forgetting'], '+.4f')} | {each['replies_identical']}/"
            f"{each['replies']} | {found(each)} | {_cell(each['complaint'] or 'as before')} |")  # fmt: skip


def _cell(text: str) -> str:
    """Text that stays text within a table of GitHub's Markdown."""
    for letter in "\\`*_{}[]<>|#~":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())
