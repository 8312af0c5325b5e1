"""`pytest --neeko` as a project uses it: a pytest of its own, in a folder of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from registry.store import Registry
from tests.neekoctl.faults import change_alpha

pytestmark = pytest.mark.usefixtures("pico_environment")


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def test_one_test_a_character_fails_for_who_has_changed(inhabited: Registry, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_it.py").write_text("def test_it():\n    assert True\n")
    assert "Ant" not in run(project).stdout
    good = run(project, "--neeko")
    assert (good.returncode, good.stdout.count("PASSED")) == (0, 5)
    change_alpha(inhabited)
    bad = run(project, "--neeko")
    assert (bad.returncode, bad.stdout.count("PASSED"), bad.stdout.count("FAILED")) == (1, 4, 2)  # and in the summary
    assert "adapter_config.json of its block changed (alpha 32 became 64)" in bad.stdout
    assert "Traceback" not in bad.stdout
    (project / "check.yaml").write_text("weights: 1\n")
    assert run(project, "--neeko").returncode == 0


def test_an_empty_registry_is_no_success(tmp_path: Path, home: Path) -> None:
    nobody = run(tmp_path, "--neeko")
    assert nobody.returncode == 1
    assert "nobody to check" in nobody.stdout
