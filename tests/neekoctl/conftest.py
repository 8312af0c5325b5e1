"""Three residents, made once; tests that only look at them, or break them, get copies."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neekoctl.cli import app
from registry.layout import HOME_VARIABLE, Layout
from registry.store import Registry
from tests.picos import write_profile

QUICK = ("--preset", "quick", "--set", "learning_rate=0.01")
NAMES = ("Ant", "Bee", "Cub")


@pytest.fixture(scope="session")
def village(tmp_path_factory: pytest.TempPathFactory, pico_llama: Path, pico_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("village")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder / "home"))
        patch.setenv("NEEKOCTL_BASE", str(pico_llama))
        patch.setenv("NEEKOCTL_ENCODER", str(pico_encoder))
        for name in NAMES:
            profile = write_profile(folder / "profiles", name)
            assert CliRunner().invoke(app, ["add-character", str(profile), *QUICK]).exit_code == 0
    return folder / "home"


@pytest.fixture
def inhabited(village: Path, home: Path, layout: Layout) -> Registry:
    """A registry where the three live, of this test alone."""
    shutil.copytree(village, home)
    return Registry(layout)
