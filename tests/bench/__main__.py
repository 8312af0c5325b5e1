"""`python -m tests.bench [SUBJECT ...] [--json]`: measure, print, and write docs/benchmarks.md (unless --json)."""

import argparse
import importlib
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.figure import Figure

SUBJECTS = ("startup", "registry", "concurrent", "training", "bank", "gate", "fusion", "check", "cohort")
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEAD = """\
# Benchmarks

Where there is a rival, both sides are measured in one run, in turn, and the median of several is told;
counts and times without a rival are told as they are.
`make bench` measures them all, `make bench ONLY=training` one subject; this page is written by it.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.subjects) - set(SUBJECTS):
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    figures = {subject: _measure(subject, quiet=options.json) for subject in options.subjects or SUBJECTS}
    if options.json:
        everything = [figure.document() for found in figures.values() for figure in found]
        sys.stdout.write(json.dumps(everything, indent=2) + "\n")
    else:
        _write(figures)
    sys.exit(0 if all(figure.holds for found in figures.values() for figure in found) else 1)


def _measure(subject: str, *, quiet: bool) -> list[Figure]:
    sys.stderr.write(f"measuring {subject}\n")
    figures: list[Figure] = importlib.import_module(f"tests.bench.{subject}").measure()
    for figure in [] if quiet else figures:
        sys.stdout.write(_line(figure) + "\n")
    return figures


def _line(figure: Figure) -> str:
    bound = "at least" if figure.at_least else "at most"
    verdict = "holds" if figure.holds else "MISSED"
    return (
        f"| {figure.name} | {figure.value:.3g} {figure.unit} | {bound} {figure.target:g} | {verdict} | {figure.peer} |"
    )


def _write(figures: dict[str, list[Figure]]) -> None:
    """Replace the sections measured now; the others stay as they were."""
    sections = _sections()
    for subject, found in figures.items():
        table = ["| figure | value | target | | against |", "|---|---|---|---|---|", *map(_line, found)]
        sections[subject] = f"Measured {datetime.now(UTC):%Y-%m-%d} on {_machine()}.\n\n" + "\n".join(table)
    body = "\n\n".join(f"## {subject}\n\n{text}" for subject, text in sections.items())
    PAGE.write_text(f"{HEAD}\n{body}\n", encoding="utf-8")


def _sections() -> dict[str, str]:
    if not PAGE.exists():
        return {}
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {title: text.strip() for title, _, text in (part.partition("\n") for part in parts)}


def _machine() -> str:
    import os

    import torch

    card = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    cores = f"{os.cpu_count()} cores ({platform.machine()}){card}"
    return f"{cores}, Python {platform.python_version()}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
