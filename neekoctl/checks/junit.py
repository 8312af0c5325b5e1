"""A check as JUnit XML: one suite a section, one test case a character. Knows nothing of how it was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from neekoctl.checks.screen import headline


def write(document: dict[str, Any], path: Path) -> None:
    """Write the report; a section that was not checked is skipped, with its reason."""
    report = JUnitXml("neekoctl check")
    for name, section in document["sections"].items():
        report.add_testsuite(_suite(name, section, document["characters"]))
    report.update_statistics()
    report.write(str(path), pretty=True)


def _suite(name: str, section: dict[str, Any], characters: list[dict[str, Any]]) -> TestSuite:
    suite = TestSuite(f"neekoctl.{name}")
    cases = [_case(name, row["name"], row["complaints"][name]) for row in characters]
    cases.append(_case(name, "everybody", section["common"]))
    for case in cases:
        if section["verdict"] == "not checked":
            case.result = [Skipped(_printable(headline(name, section)))]
        suite.add_testcase(case)
    return suite


def _case(section: str, character: str, complaints: list[str]) -> TestCase:
    case = TestCase(_printable(character), f"neekoctl.{section}")
    case.result = [Failure(_printable(words), section) for words in complaints]
    return case


def _printable(text: str) -> str:
    """XML has no place for control characters, not even escaped."""
    return "".join(letter if letter.isprintable() or letter in "\t\n" else "\ufffd" for letter in text)
