"""`neekoctl models list | pull`."""

from typing import Annotated

import typer

from neekoctl.commands.options import Json

app = typer.Typer(help="Base models and encoders that need no hub.", no_args_is_help=True)


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the aliases, and which of them are here."""
    from neekoctl import render
    from recipes.sources import available
    from registry.layout import Layout

    rows = available(Layout.default())
    render.document(rows) if json else render.models(rows)


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="An alias, a Hugging Face id or a .gguf file.", show_default=False)],
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="You have read and accept the model's licence.")
    ] = False,
    json: Json = False,
) -> None:
    """Fetch a model, check its digest and convert it once."""
    from neekoctl import render
    from recipes.sources import local_folder
    from registry.layout import Layout

    folder = local_folder(Layout.default(), name, say=render.say, accept_licence=accept_license)
    if json:
        render.document({"name": name, "folder": str(folder)})
    else:
        render.out().print(f"{name} is here: {folder}", markup=False, soft_wrap=True)
