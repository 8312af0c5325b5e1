"""What is printed is what was stored, whoever reads it: a terminal, a pipe, or something that knows ASCII alone."""

import io
import sys
import time

import pytest

from neekoctl import render
from neekoctl.cohort_screen import trained


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_name_is_no_markup_and_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with render.counting("checking", 2) as step:
        step("Max [/tmp]")
        step("R2 [D2] :cat:")
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "R2 [D2] :cat:" in shown


def test_where_there_is_no_terminal_a_table_keeps_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    name = "Augusta Ada King, Countess of Lovelace"
    row = {"character": name, "rank_start": 0, "rank_stop": 8, "nll_base": 4.37219, "nll_before": None,
           "nll_after": 2.76812, "switched": True, "passes": True}  # fmt: skip
    trained({"members": [row], "certificate": {"identical": 3, "others": 3}, "version": 1, "cohort": "founders",
             "kind": "hycora", "best_step": 3, "steps": 4})  # fmt: skip
    line = next(each for each in capsys.readouterr().out.splitlines() if "Ada" in each)
    assert [*line.split()[-4:]] == ["-", "2.768", "moved", "in"]
    assert name in line and "4.372" in line


def test_a_time_is_that_of_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert render.moment("2026-11-21T20:15:59.000001+00:00") == "2026-11-22 01:45"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_document_is_whole_where_only_ascii_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    render.document({"name": "孔子"})
    sys.stdout.flush()
    assert written.getvalue() == b'{\n  "name": "\\u5b54\\u5b50"\n}\n'
