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
Encoder = Annotated[
    str | None,
    typer.Option("--encoder", envvar="NEEKOCTL_ENCODER", show_default=False,
                 help="Sentence encoder of the gate; default: the one everybody was embedded by, else minilm-l6."),
]  # fmt: skip
Signal = Annotated[
    str,
    typer.Option("--gate", metavar="SIGNAL",
                 help="What decides: all, mention, prototypes, head, or similarity (Neeko's way)."),
]  # fmt: skip
