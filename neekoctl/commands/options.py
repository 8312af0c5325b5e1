"""Options that several commands share, so that they read the same everywhere."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Name = Annotated[str, typer.Argument(help="A name or alias, in any case.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of the preset; repeatable.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Makes the run repeatable on one machine.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a run that was killed.")]
AcceptGate = Annotated[bool, typer.Option("--accept-gate", help="Accept a gate that finds residents less often.")]
Base = Annotated[
    str | None,
    typer.Option("--base", envvar="NEEKOCTL_BASE", show_default=False,
                 help="Base model: an alias, a Hugging Face id, a folder or a .gguf file."),
]  # fmt: skip
Encoder = Annotated[
    str | None,
    typer.Option("--encoder", envvar="NEEKOCTL_ENCODER", show_default=False,
                 help="Sentence encoder of the gate; default: the one in use here, else minilm-l6."),
]  # fmt: skip
Signal = Annotated[
    str,
    typer.Option("--gate", metavar="SIGNAL",
                 help="The signal that decides: all, mention, prototypes, head, or similarity (Neeko's way)."),
]  # fmt: skip
