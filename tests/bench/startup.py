"""How long the light commands take, against the least a command of their kind can do."""

import os
import sys
import tempfile
from pathlib import Path

from registry.layout import HOME_VARIABLE, Layout
from registry.store import Registry
from tests.bench.figure import Figure, in_turn, wall
from tests.bench.population import populate

RUNS = 9
RESIDENTS = 1000
BARE_TYPER = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str) -> None:
    "Say hello."
app()
"""


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE_TYPER)
        populate(Registry(Layout(Path(folder))), RESIDENTS)
        environment = {**os.environ, HOME_VARIABLE: folder}
        ours = [sys.executable, "-m", "neekoctl"]
        help_, typer_ = in_turn(
            lambda: wall([*ours, "--help"]), lambda: wall([sys.executable, str(bare), "--help"]), RUNS
        )
        list_, import_ = in_turn(
            lambda: wall([*ours, "list"], env=environment),
            lambda: wall([sys.executable, "-c", "import sqlmodel"]),
            RUNS,
        )
    return [
        Figure("neekoctl --help", help_ / typer_, 1.5, "x", f"a bare Typer app's --help ({typer_:.2f} s)"),
        Figure("neekoctl list, 1,000 characters", list_ / import_, 1.5, "x", f"import sqlmodel ({import_:.2f} s)"),
    ]
