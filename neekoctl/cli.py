"""The command line: registers one module a command, and turns errors into a sentence and an exit code.
Knows no registry and no model; what a command needs is imported when it runs.

Exit codes: 0 fine, 1 error, 2 usage, 3 a check found a regression.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from neekoctl import __version__
from neekoctl.commands import (
    add_character,
    bundle,
    chat,
    check,
    cohort,
    doctor,
    gate,
    history,
    listing,
    log,
    models,
    profile,
    ranks,
    remove,
    rollback,
    route,
    show,
    stale,
)
from registry.errors import Terminated


class Boundary(TyperGroup):
    """Where errors end: one sentence on stderr (and one document on stdout under --json), no traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort) as error:  # the latter at a question
            _explain(_with_notes("Stopped; nothing half-made was kept.", error), None)
            raise typer.Exit(1) from None
        except Exception as error:  # noqa: BLE001  the last wall before the user
            if ctx.params.get("debug") or not _is_expected(error):
                _document(_told_by_others(error), error)
                raise
            _explain(_with_notes(_sentence(error), error), error)
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


def _with_notes(sentence: str, error: BaseException) -> str:
    """What was noted on the way out is told too, but for a second word on how to go on."""
    return " ".join([sentence, *([] if "--resume" in sentence else getattr(error, "__notes__", []))])


def _is_expected(error: Exception) -> bool:
    from registry.errors import NeekoError

    return isinstance(error, (NeekoError, OSError)) and not isinstance(error, BrokenPipeError)


def _told_by_others(error: Exception) -> str:
    """A usage error, which Typer tells, or what ends in a traceback; nothing of an exit."""
    if isinstance(error, typer.Exit):
        return ""
    told = getattr(error, "format_message", None)
    return str(told() if told else error) or type(error).__name__


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}: free the way and run the command again."
    return str(error)


def _explain(sentence: str, error: Exception | None) -> None:
    from neekoctl import render

    render.error(sentence)
    _document(sentence, error)


def _document(sentence: str, error: Exception | None) -> None:
    """The one document of a command that failed, where one is wanted."""
    from neekoctl import render

    if sentence and "--json" in sys.argv:
        with suppress(OSError):  # the output itself may be what is full
            render.document({"error": sentence, "kind": type(error).__name__ if error else "Interrupted"})


app = typer.Typer(
    cls=Boundary,
    name="neekoctl",
    help="Give each character its own range of LoRA ranks in one language model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neekoctl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command."""


app.command("add-character")(add_character.add_character)
app.command("list")(listing.list_characters)
app.command("show")(show.show)
app.command("log")(log.log)
app.command("history")(history.history)
app.command("rollback")(rollback.rollback)
app.command("stale")(stale.stale)
app.command("remove")(remove.remove)
app.command("ranks")(ranks.ranks)
app.command("chat")(chat.chat)
app.command("route")(route.route)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)
app.add_typer(gate.app, name="gate")
app.add_typer(bundle.app, name="bundle")
app.add_typer(cohort.app, name="cohort")
app.add_typer(profile.app, name="profile")
app.add_typer(models.app, name="models")


def _terminated(_number: int, _frame: object) -> None:
    raise Terminated


def main() -> None:
    """The entry point of the `neekoctl` script. A termination ends like Ctrl-C: everything given back."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # progress is drawn by neekoctl; tqdm reads this when imported
    signal.signal(signal.SIGTERM, _terminated)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115  for as long as we run
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where not every letter can be written
    app()
