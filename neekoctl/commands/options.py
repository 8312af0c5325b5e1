"""Options that several commands share, so that they read the same everywhere."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Name = Annotated[str, typer.Argument(help="A name or alias, in any case.", show_default=False)]
Base = Annotated[
    str | None,
    typer.Option("--base", envvar="NEEKOCTL_BASE", show_default=False,
                 help="Base model: an alias, a Hugging Face id, a folder or a .gguf file."),
]  # fmt: skip
