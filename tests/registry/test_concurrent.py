"""Sixteen processes at once on a home that does not exist yet: the schema is made once, and no range twice."""

import json
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

from registry.layout import Layout
from registry.store import Registry

PROCESSES, EACH, RANK = 16, 20, 8

# Every process stays until all are done: a process that ended would rightly lose its reservations to the next.
RESERVES = """
import json, sys
from registry.layout import Layout
from registry.store import Registry

who, count, rank = (int(each) for each in sys.argv[1:])
print("here", flush=True)
sys.stdin.readline()
registry = Registry(Layout.default())
bank = registry.bank("base", "fingerprint")
got = [registry.reserve(bank, f"Character {who}-{number}", [f"Alias {who}-{number}"], rank, "expand")
       for number in range(count)]
print(json.dumps([[bank.id, each.ranks.start, each.ranks.stop, list(each.reclaimed)] for each in got]), flush=True)
sys.stdin.readline()
"""


def test_sixteen_processes_at_once_get_320_ranges_that_never_overlap(home: Path) -> None:
    commands = [[sys.executable, "-c", RESERVES, str(who), str(EACH), str(RANK)] for who in range(PROCESSES)]
    crowd = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for command in commands]
    try:
        _say_when_all_are_there(crowd)
        answers = [_line(process) for process in crowd]
        assert [process.poll() for process in crowd] == [None] * PROCESSES
        live = Registry(Layout(home)).characters()
    finally:
        ends = [
            process.communicate("leave\n")[1] if process.poll() is None else _last_words(process) for process in crowd
        ]
    assert ends == [""] * PROCESSES
    assert [process.returncode for process in crowd] == [0] * PROCESSES

    got = [each for answer in answers for each in json.loads(answer)]
    assert [reclaimed for *_, reclaimed in got if reclaimed] == []
    assert {bank for bank, *_ in got} == {1}
    starts = sorted((start, stop) for _, start, stop, _ in got)
    assert starts == [(RANK * place, RANK * (place + 1)) for place in range(PROCESSES * EACH)], "dense, and disjoint"
    assert [(row.start, row.stop) for row in live] == starts
    assert len({row.name for row in live}) == PROCESSES * EACH


def test_of_sixteen_processes_that_want_one_name_one_gets_it(home: Path) -> None:
    code = RESERVES.replace('f"Character {who}-{number}", [f"Alias {who}-{number}"]', '"Moth", []')
    commands = [[sys.executable, "-c", code, str(who), "1", str(RANK)] for who in range(PROCESSES)]
    crowd = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for command in commands]
    _say_when_all_are_there(crowd)
    answers = [_line(process) for process in crowd]
    ends = [process.communicate("leave\n")[1] if process.poll() is None else _last_words(process) for process in crowd]
    assert sorted(bool(answer) for answer in answers) == [False] * (PROCESSES - 1) + [True]
    assert sum("NameTaken: The name 'Moth' is taken" in end for end in ends) == PROCESSES - 1
    assert sorted(process.returncode for process in crowd) == [0] + [1] * (PROCESSES - 1)
    assert [row.name for row in Registry(Layout(home)).characters()] == ["Moth"]


def _say_when_all_are_there(crowd: list["subprocess.Popen[str]"]) -> None:
    """Wait until every process has imported what it needs, then let all go at once."""
    assert [_line(process) for process in crowd] == ["here\n"] * len(crowd)
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _last_words(process: "subprocess.Popen[str]") -> str:
    return process.communicate()[1]
