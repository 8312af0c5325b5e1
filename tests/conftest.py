"""What every test stands on: an empty home, the pico models, a profile to onboard, and the command line."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach a hub
os.environ["TQDM_DISABLE"] = "1"

from typer.testing import CliRunner

from neekoctl.cli import app
from registry.layout import HOME_VARIABLE, Layout
from registry.store import Registry
from tests.picos import save_encoder, save_gemma, save_llama, write_profile


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty NEEKOCTL_HOME, of this test alone."""
    folder = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(folder))
    monkeypatch.delenv("NEEKOCTL_BASE", raising=False)
    monkeypatch.delenv("NEEKOCTL_ENCODER", raising=False)
    return folder


@pytest.fixture
def layout(home: Path) -> Layout:
    return Layout(home)


@pytest.fixture
def registry(layout: Layout) -> Registry:
    return Registry(layout)


@pytest.fixture(scope="session")
def pico_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with grouped-query attention."""
    return save_llama(tmp_path_factory.mktemp("pico") / "llama")


@pytest.fixture(scope="session")
def pico_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Gemma 3 (sliding and full attention), with no chat template."""
    return save_gemma(tmp_path_factory.mktemp("pico") / "gemma")


@pytest.fixture(scope="session")
def pico_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer BERT with mean pooling."""
    return save_encoder(tmp_path_factory.mktemp("pico"))


@pytest.fixture
def moth(tmp_path: Path) -> Path:
    """A character's profile."""
    return write_profile(tmp_path / "profiles", "Moth", ("Dusty",))


@pytest.fixture
def pico_environment(pico_llama: Path, pico_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands use the pico base and encoder by default."""
    monkeypatch.setenv("NEEKOCTL_BASE", str(pico_llama))
    monkeypatch.setenv("NEEKOCTL_ENCODER", str(pico_encoder))


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


@pytest.fixture
def neekoctl(monkeypatch: pytest.MonkeyPatch):
    """Call the command line in this process; stdout and stderr apart."""

    def call(*arguments: object, stdin: str | None = None) -> Outcome:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr("sys.argv", ["neekoctl", *words])
        result = CliRunner().invoke(app, words, input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return call
