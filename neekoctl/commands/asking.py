"""Asking before something is taken away. Knows the terminal alone."""

import sys

import typer

from registry.errors import NeekoError, UsageError


def ask(yes: bool, to: str) -> None:
    """Ask whether `to` is meant, unless `yes` says so.

    Raises:
        UsageError: there is no terminal to ask at.
        NeekoError: it is not.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"Without a terminal nobody can be asked: repeat with --yes to {to}.")
    if not yes and not typer.confirm(f"{to[0].upper()}{to[1:]}?", err=True):
        raise NeekoError("You said no, and nothing was changed.")
