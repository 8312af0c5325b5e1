"""A check as JUnit XML: one suite a section, one test case a character. Knows nothing of how it was measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

NO_XML = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(document: dict[str, Any], path: Path) -> None:
    """Write the report; what was not judged is skipped, with its reason."""
    report = JUnitXml("neekoctl check")
    for name, section in document["sections"].items():
        report.add_testsuite(_suite(name, section, document["characters"]))
    report.update_statistics()
    report.write(str(path), pretty=True)


def write_error(sentence: str, path: Path) -> None:
    """A report of a check that could not run: one case, and it is an error."""
    suite = TestSuite("neekoctl")
    case = TestCase("(everybody)", "neekoctl.check")
    case.result = [Error(_printable(sentence))]
    suite.add_testcase(case)
    report = JUnitXml("neekoctl check")
    report.add_testsuite(suite)
    report.update_statistics()
    report.write(str(path), pretty=True)


def _suite(name: str, section: dict[str, Any], characters: list[dict[str, Any]]) -> TestSuite:
    suite, unchecked = TestSuite(f"neekoctl.{name}"), section.get("why")
    for row in characters:
        suite.add_testcase(_case(name, section, row["name"], row["complaints"][name],
                                section["unjudged"].get(row["name"])))  # fmt: skip
    suite.add_testcase(_case(name, section, "(everybody)", section["common"], unchecked))
    return suite


def _case(name: str, section: dict[str, Any], who: str, complaints: list[str], unjudged: str | None) -> TestCase:
    case, words = TestCase(_printable(who), f"neekoctl.{name}"), [_printable(each) for each in complaints]
    if section["verdict"] == "regressed" and words:
        case.result = [Failure(each, name) for each in words]
    elif unjudged:
        case.result = [Skipped(_printable(unjudged))]
    elif words:  # tolerated
        case.system_out = "\n".join(words)
    return case


def _printable(text: str) -> str:
    """XML has no place for control characters, not even escaped (XML 1.0, production 2)."""
    return NO_XML.sub("\ufffd", text)
