"""Ctrl-C, errors and kill -9 during an onboarding: the character is whole, or there is no trace of it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neekoctl.render import TrainingScreen
from registry.layout import Layout
from registry.store import Registry
from tests.conftest import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
QUICK = ("--preset", "quick", "--set", "epochs=4")


def stop_at(step: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def progress(_screen: TrainingScreen, progress) -> None:
        if progress.step == step:
            raise error

    monkeypatch.setattr(TrainingScreen, "progress", progress)


def test_ctrl_c_gives_the_range_and_the_name_back(neekoctl, moth: Path, registry: Registry, monkeypatch) -> None:
    stop_at(2, KeyboardInterrupt, monkeypatch)
    done = neekoctl("add-character", moth, *QUICK)
    assert (done.code, "Stopped" in done.err, "--resume" in done.err) == (1, True, False)  # nothing was saved yet
    assert registry.characters() == []
    assert registry.blocks.digests() == set()
    monkeypatch.undo()


def test_a_resumed_run_makes_the_block_the_uninterrupted_one_would_have(neekoctl, moth: Path, monkeypatch) -> None:
    whole = neekoctl("add-character", moth, *QUICK, "--json").document["block"]
    neekoctl("remove", "moth", "--yes")
    with monkeypatch.context() as patch:
        patch.setattr("recipes.running.CHECKPOINT_SECONDS", 0.0)
        stop_at(5, KeyboardInterrupt, patch)
        assert neekoctl("add-character", moth, *QUICK).code == 1
    resumed = neekoctl("add-character", moth, *QUICK, "--resume", "--json")
    assert "starting at the beginning" not in resumed.err
    assert resumed.document["block"] == whole


def test_a_failure_after_the_block_was_stored_leaves_no_block(neekoctl, moth: Path, registry, monkeypatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("neekoctl.onboarding.compare", fail)
    assert neekoctl("add-character", moth, *QUICK).code == 1
    assert registry.characters() == []
    assert registry.blocks.digests() == set()


KILLED = """
import os, signal, sys
from pathlib import Path
from neekoctl.onboarding import onboard
from neekoctl.request import Request
from registry.layout import Layout
from registry.store import Registry

moment, profile = sys.argv[1], Path(sys.argv[2])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

class Screen:
    def say(self, text):
        if text.startswith(moment): die()
    def progress(self, progress):
        if moment == f"step {progress.step}": die()

class Dying(Registry):
    def commit(self, *arguments):
        if moment == "before commit": die()
        row = super().commit(*arguments)
        if moment == "after commit": die()
        return row

import recipes.running
recipes.running.CHECKPOINT_SECONDS = 0.0
base, encoder = os.environ["NEEKOCTL_BASE"], os.environ["NEEKOCTL_ENCODER"]
onboard(Dying(Layout.default()), Request(profile, base=base, encoder=encoder, preset="quick"), Screen())
"""


@pytest.mark.parametrize("moment", ["loading", "step 2", "recording", "before commit", "after commit"])
def test_kill_9_leaves_the_character_whole_or_no_trace(
    neekoctl, moth: Path, tmp_path: Path, registry: Registry, moment: str
) -> None:
    resident = neekoctl("add-character", write_profile(tmp_path, "Ant"), "--preset", "quick", "--json").document
    killed = subprocess.run([sys.executable, "-c", KILLED, moment, str(moth)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    doctor = neekoctl("doctor", "--prune", "--json")
    assert doctor.code == 0
    survivors = [row.name for row in registry.characters()]
    assert survivors == (["Ant", "Moth"] if moment == "after commit" else ["Ant"])
    assert all(registry.blocks.is_whole(row.block or "") for row in registry.characters())
    assert registry.blocks.digests() == {row.block for row in registry.characters()}
    assert registry.find("Ant").block == resident["block"]
    assert neekoctl("doctor", "--json").document == {"findings": []}
    assert not list(registry.layout.scratch.glob("*"))
    if moment != "after commit":
        again = neekoctl("add-character", moth, "--preset", "quick", "--json").document
        assert (again["rank_start"], again["rank_stop"]) == (8, 16)


def test_a_killed_run_blocks_neither_its_name_nor_its_range(neekoctl, moth: Path, registry: Registry) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, "step 2", str(moth)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [row.status for row in registry.characters()] == ["reserved"]
    done = neekoctl("add-character", moth, "--preset", "quick", "--resume", "--json")
    assert (done.code, done.document["rank_start"]) == (0, 0)


def test_two_commands_at_once_get_different_ranges_or_a_sentence(
    moth: Path, tmp_path: Path, registry: Registry
) -> None:
    profiles = [moth, moth, write_profile(tmp_path, "Bee")]
    command = [sys.executable, "-m", "neekoctl", "add-character", "--preset", "quick"]
    running = [
        subprocess.Popen([*command, str(path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE) for path in profiles
    ]
    errors = [process.communicate()[1].decode() for process in running]
    assert sorted(process.returncode for process in running) == [0, 0, 1]
    assert any("being added by another command" in error or "already answers" in error for error in errors)
    assert not any("Traceback" in error for error in errors)
    assert sorted((row.start, row.stop) for row in registry.characters()) == [(0, 8), (8, 16)]


def test_somebody_elses_checkpoint_is_not_called_ones_own(neekoctl, moth: Path, layout: Layout, monkeypatch) -> None:
    layout.checkpoints.mkdir(parents=True)

    def progress(*_: object) -> None:  # before one's own is due
        (layout.checkpoints / f"{'a' * 64}.safetensors").write_bytes(b"another training's, saved this moment")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(TrainingScreen, "progress", progress)
    done = neekoctl("add-character", moth, *QUICK)
    assert (done.code, "Input/output" in done.err, "--resume" in done.err) == (1, True, False), done.err
