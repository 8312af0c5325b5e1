"""Leases: held while the process that took it runs here, and until it expires elsewhere."""

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from registry import leases
from registry.leases import LEASE_SECONDS, Lease, is_running

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc (Linux) to tell processes")


def taken_by(command: list[str]) -> tuple[subprocess.Popen[str], Lease]:
    """A child that prints its own lease, then goes on with whatever `command` says."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid, born = child.stdout.readline().split()
    return child, Lease(int(pid), socket.gethostname(), None if born == "None" else float(born), 0.0)


HOLDER = [sys.executable, "-c", "from registry.leases import Lease; m = Lease.mine(); print(m.pid, m.born, flush=True); input()"]  # fmt: skip  # noqa: E501


def test_my_own_lease_is_held_and_lasts() -> None:
    before = time.time()
    lease = Lease.mine()
    assert lease.is_held()
    assert (lease.pid, lease.host) == (os.getpid(), socket.gethostname())
    assert before + LEASE_SECONDS <= lease.expires <= time.time() + LEASE_SECONDS


def test_the_lease_of_a_process_here_ends_with_the_process_whatever_its_expiry() -> None:
    child, lease = taken_by(HOLDER)
    assert lease.expires < time.time()
    assert lease.is_held(), "it runs: the expiry is for other hosts"
    child.communicate("go\n")
    assert not replace(lease, expires=time.time() + LEASE_SECONDS).is_held()


@needs_proc
def test_a_recycled_pid_holds_nothing() -> None:
    lease = Lease.mine()
    assert lease.born is not None
    assert not replace(lease, born=lease.born - 1).is_held()
    assert not replace(lease, born=None).is_held()


@pytest.mark.parametrize(("left", "held"), [(60.0, True), (-1.0, False)])
def test_a_running_process_that_cannot_be_looked_at_holds_until_the_expiry(
    left: float, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(Lease.mine(), born=1.0, expires=time.time() + left)
    monkeypatch.setattr(leases, "_born", lambda _pid: None)  # as another user sees it where /proc is hidden
    assert mine.is_held() is held


@needs_proc
def test_a_process_that_ended_unwaited_for_holds_nothing() -> None:
    child, lease = taken_by(HOLDER)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()  # it ends, and stays a zombie until we wait
    child.stdout.read()
    deadline = time.monotonic() + 10
    while ") Z " not in Path(f"/proc/{child.pid}/stat").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_running(child.pid)
    assert not lease.is_held()
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize(("left", "held"), [(60.0, True), (-1.0, False)])
def test_another_hosts_lease_is_held_until_it_expires(left: float, held: bool) -> None:
    mine = Lease.mine()
    assert replace(mine, host="elsewhere.example", expires=time.time() + left).is_held() is held


def test_another_hosts_lease_is_never_judged_by_the_processes_here() -> None:
    nobody = Lease(2**22 + 1, "elsewhere.example", 1.0, time.time() + 60)
    assert not is_running(nobody.pid)
    assert nobody.is_held()


@needs_proc
def test_a_process_with_brackets_and_spaces_in_its_name_keeps_its_lease(tmp_path: Path) -> None:
    odd = tmp_path / "o) 1 (2 x"
    odd.symlink_to(str(shutil.which("sleep")))
    with subprocess.Popen([odd, "60"]) as child:
        try:
            stat = Path(f"/proc/{child.pid}/stat").read_text()
            started = float(stat.removeprefix(f"{child.pid} ({odd.name}) ").split()[19])
            lease = Lease(child.pid, socket.gethostname(), started, 0.0)
            assert stat.startswith(f"{child.pid} ({odd.name}) ")
            assert lease.is_held()
            assert not replace(lease, born=started + 1).is_held()
        finally:
            child.kill()


def test_a_process_of_another_user_counts_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_running(1)
