"""`neekoctl profile new | validate | schema`."""

from pathlib import Path
from typing import Annotated

import typer

from neekoctl.commands.options import Json

app = typer.Typer(help="Write and check profiles.", no_args_is_help=True)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The character's name.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder to write into; default: here.", show_default=False)] = None,
) -> None:
    """Write a profile.yaml to start from, with its dialogues beside it."""
    from neekoctl import render
    from neekoctl.scaffold import scaffold

    written = scaffold(name, out or Path.cwd())
    render.out().print("Wrote " + " and ".join(str(path) for path in written) + ".", markup=False, soft_wrap=True)


@app.command("validate")
def validate(
    profile: Annotated[Path, typer.Argument(help="The profile to check.", show_default=False)], json: Json = False
) -> None:
    """Check a profile and its dialogues; every fault at once, with its line."""
    from neekoctl import render
    from neekoctl.scaffold import validation

    document = validation(profile)
    render.document(document) if json else render.validated(document)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of profile.yaml, for editors."""
    from neekoctl import render
    from registry.profile import json_schema

    render.document(json_schema())
