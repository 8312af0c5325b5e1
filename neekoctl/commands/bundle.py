"""`neekoctl bundle save | load | diff`."""

from pathlib import Path
from typing import Annotated

import typer

from neekoctl.commands.options import Json

app = typer.Typer(help="Save a registry in one file, load it elsewhere, compare two.", no_args_is_help=True)


@app.command("save")
def save(
    file: Annotated[Path, typer.Argument(help="The file to write, such as monday.neeko.", show_default=False)],
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Save only this resident, without history; "
                                                   "repeatable.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Write the registry, with its blocks, history, gate and profiles, into one file."""
    from neekoctl import __version__, bundle_screen, render
    from registry.bundle import save as run
    from registry.layout import Layout
    from registry.store import Registry

    document = run(Registry(Layout.default()), file, program=__version__, only=only or (), force=force)
    render.document(document) if json else bundle_screen.saved(document)


@app.command("load")
def load(
    file: Annotated[Path, typer.Argument(help="A bundle.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything, keep nothing.")] = False,
    json: Json = False,
) -> None:
    """Restore a bundle in an empty home; in any other its residents move in. All of it, or nothing."""
    from neekoctl import bundle_screen, render
    from neekoctl.moving import move_in
    from registry.layout import Layout
    from registry.store import Registry

    document = move_in(Registry(Layout.default()), file, render.say, rehearse=dry_run)
    render.document(document) if json else bundle_screen.loaded(document)


@app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(help="A bundle, a NEEKOCTL_HOME, or `here`.", show_default=False)],
    b: Annotated[str, typer.Argument(help="Likewise.", show_default=False)],
    json: Json = False,
) -> None:
    """Show who came and went from A to B, and whose block, records or ranks changed."""
    from neekoctl import bundle_screen, render
    from registry.differences import difference, rows_at

    document = difference(rows_at(a), rows_at(b))
    render.document(document) if json else bundle_screen.differs(document)
