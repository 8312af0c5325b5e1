"""The house rules: imports run one way, the light commands stay light, the public names are what is meant."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {"registry": set(), "recipes": {"registry"}, "neekoctl": {"registry", "recipes"}}
ROOMS = set(BELOW)


def imported(path: Path) -> set[str]:
    """The rooms that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found & ROOMS


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_run_from_registry_to_recipes_to_neekoctl(room: str) -> None:
    modules = sorted((ROOT / room).rglob("*.py"))
    assert modules
    wrong = {str(path.relative_to(ROOT)): imported(path) - BELOW[room] - {room} for path in modules}
    assert not {path: rooms for path, rooms in wrong.items() if rooms}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_module_says_what_it_is(room: str) -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / room).rglob("*.py")}
    silent = [str(path) for path, text in sources.items() if text.strip() and not ast.get_docstring(ast.parse(text))]
    assert not silent


HEAVY = ("torch", "transformers", "sentence_transformers", "peft", "faiss")


@pytest.mark.parametrize(
    "code",
    [
        "import registry, registry.store, registry.profile, registry.heldout",
        "import neekoctl.onboarding, neekoctl.checks.checking, neekoctl.describing, neekoctl.mending",
        "from typer.testing import CliRunner; from neekoctl.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0",
        "from typer.testing import CliRunner; from neekoctl.cli import app\n"
        "assert CliRunner().invoke(app, ['list']).exit_code == 0",
    ],
    ids=["registry", "planning", "help", "list"],
)
def test_light_paths_load_no_torch(code: str) -> None:
    check = f"{code}\nimport sys\nprint(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_what_is_meant() -> None:
    import neekoctl
    import recipes
    import registry

    assert neekoctl.__all__ == ["__version__"]
    assert registry.__all__ == []
    assert recipes.__all__ == []
