"""Sixteen processes reserving at once, and kill -9 at twenty moments of an onboarding."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from registry.layout import HOME_VARIABLE, Layout
from registry.store import Registry
from tests.bench.figure import Figure
from tests.bench.pico import pico_models, pico_profile

PROCESSES, EACH = 16, 50
KILLS = 20
RESERVE = f"""
import os, sys
from registry.layout import Layout
from registry.store import Registry
from tests.bench.population import bank, onboarded
registry = Registry(Layout.default())
for number in range({EACH}):
    name = f"{{sys.argv[1]}} {{number}}"
    registry.commit(registry.reserve(bank(registry), name, [], 8, "expand"), onboarded(number))
"""


def measure() -> list[Figure]:
    return [*_reservations(), *_kills()]


def _reservations() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, HOME_VARIABLE: folder}
        running = [
            subprocess.Popen([sys.executable, "-c", RESERVE, str(number)], env=environment)
            for number in range(PROCESSES)
        ]
        errors = sum(process.wait() != 0 for process in running)
        ranges = sorted((row.start, row.stop) for row in Registry(Layout(Path(folder))).characters())
    disjoint = sum(first[1] <= second[0] for first, second in zip(ranges, ranges[1:], strict=False)) + bool(ranges)
    return [
        Figure("disjoint ranges", disjoint, PROCESSES * EACH, "", f"{PROCESSES} processes x {EACH}", at_least=True),
        Figure("errors shown", errors, 0, "", f"{PROCESSES} processes"),
    ]


def _kills() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        base, encoder = pico_models(root)
        environment = {**os.environ, HOME_VARIABLE: str(root / "home"), "NEEKOCTL_BASE": str(base),
                       "NEEKOCTL_ENCODER": str(encoder)}  # fmt: skip
        add = [sys.executable, "-m", "neekoctl", "add-character", "--preset", "quick", "--set", "epochs=40"]
        started = time.monotonic()
        subprocess.run([*add, pico_profile(root, "Resident")], env=environment, check=True, capture_output=True)
        whole = time.monotonic() - started
        outcomes = [_kill(add, root, environment, number, whole) for number in range(KILLS)]
    return [
        Figure("half characters, lost ranges or touched blocks", outcomes.count(False), 0, "",
               f"kill -9 at {KILLS} moments spread over {whole:.0f} s, then doctor"),
    ]  # fmt: skip


def _kill(add: list[str], root: Path, environment: dict[str, str], number: int, whole: float) -> bool:
    """Kill one onboarding; True when after doctor everything is whole."""
    registry = Registry(Layout(root / "home"))
    before = {row.name: row.block for row in registry.characters()}
    command = [*add, pico_profile(root, f"Newcomer {number}")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(whole * (number + random.Random(number).random()) / KILLS)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(
        [sys.executable, "-m", "neekoctl", "doctor", "--prune"], env=environment, check=True, capture_output=True
    )
    rows = registry.characters()
    whole_rows = all(row.status == "ready" and registry.blocks.is_whole(row.block or "") for row in rows)
    kept = all(row.block == before[row.name] for row in rows if row.name in before) and len(rows) >= len(before)
    dense = [row.start for row in rows] == [8 * place for place in range(len(rows))]
    return whole_rows and kept and dense and registry.blocks.digests() == {row.block for row in rows}
