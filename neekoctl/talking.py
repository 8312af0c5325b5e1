"""Chat at a terminal or through a pipe: reads lines, shows replies as they come. Knows the screen and the
conversation, and nothing of how a reply is made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from neekoctl import render
from neekoctl.conversation import Conversation
from neekoctl.stage import bank_of, choose_bank, set_stage
from recipes.engine import Sampling
from registry.errors import NeekoError, UsageError
from registry.store import Registry

HELP = """\
/as NAME   let somebody else answer (nothing after /as: the base model)
/who       who answers, and who else is here
/reset     forget what was said
/help      this
/quit      leave (Ctrl-D too)"""


@dataclass(frozen=True)
class TalkOptions:
    """The options of `chat`."""

    speaker: str | None
    once: str | None
    temperature: float
    max_new_tokens: int
    persona: bool
    seed: int | None
    base: str | None
    json: bool

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, seed=self.seed)


def talk(registry: Registry, options: TalkOptions) -> None:
    """Answer `--once`, or every line of a pipe, or a person at a terminal.

    Raises:
        UnknownCharacter: nobody answers to the name.
        UsageError: --json without --once.
    """
    if options.json and options.once is None:
        raise UsageError("--json goes with --once: one question, one document.")
    if options.once is not None and not options.once.strip():
        raise UsageError("--once needs something to say.")
    conversation = _begin(registry, options)
    if options.once is not None:
        _answer_once(conversation, options)
    elif sys.stdin.isatty():
        _repl(registry, conversation, options)
    else:
        for line in _lines():
            _answer(conversation, line, options)


def _begin(registry: Registry, options: TalkOptions) -> Conversation:
    row = registry.ready(options.speaker) if options.speaker else None
    bank = bank_of(registry, row) if row else choose_bank(registry, options.base, say=render.say)
    if row is None:
        render.say("nobody is named, so the base model answers; --as NAME lets a character speak")
    stage = set_stage(registry, bank, say=render.say)
    return Conversation(stage, row, options.persona)


def _answer_once(conversation: Conversation, options: TalkOptions) -> None:
    assert options.once is not None
    if not options.json:
        _answer(conversation, options.once, options)
        return
    for _ in conversation.say(options.once, max_new_tokens=options.max_new_tokens, sampling=options.sampling):
        pass
    last = conversation.last
    render.document({
        "character": conversation.speaker.name if conversation.speaker else None,
        "reply": last.text.strip(),
        "new_tokens": last.new_tokens,
        "seconds": round(last.seconds, 3),
    })  # fmt: skip


def _answer(conversation: Conversation, text: str, options: TalkOptions) -> None:
    for piece in conversation.say(text, max_new_tokens=options.max_new_tokens, sampling=options.sampling):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()


def _repl(registry: Registry, conversation: Conversation, options: TalkOptions) -> None:
    import readline  # noqa: F401  gives input() its history and editing

    render.say("/help lists the commands, /quit leaves")
    while True:
        name = conversation.speaker.name if conversation.speaker else "base model"
        try:
            line = input(f"you to {name}> ").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            render.say("/quit leaves")
            continue
        if line == "/quit":
            return
        if line.startswith("/"):
            conversation = _command(registry, conversation, line)
        elif line:
            _answer_interruptibly(conversation, line, options)


def _answer_interruptibly(conversation: Conversation, line: str, options: TalkOptions) -> None:
    """Ctrl-C ends the reply, not the chat."""
    try:
        _answer(conversation, line, options)
    except KeyboardInterrupt:
        render.say("interrupted; that turn is forgotten")


def _command(registry: Registry, conversation: Conversation, line: str) -> Conversation:
    command, _, rest = line.partition(" ")
    try:
        match command:
            case "/as":
                return _hand_over(registry, conversation, rest.strip())
            case "/who":
                names = [row.name for row in registry.characters(status=("ready",))]
                speaker = conversation.speaker.name if conversation.speaker else "the base model"
                render.say(f"{speaker} answers; here are {', '.join(names) or 'nobody'}")
            case "/reset":
                conversation.history.clear()
                render.say("forgotten")
            case "/help":
                render.err().print(HELP, markup=False)
            case _:
                render.say(f"there is no command {command}; /help lists them")
    except NeekoError as error:
        render.error(str(error))
    return conversation


def _hand_over(registry: Registry, conversation: Conversation, name: str) -> Conversation:
    row = registry.ready(name) if name else None
    if row and row.bank_id != conversation.stage.row.id:
        raise UsageError(f"{row.name} lives over another base: leave and `neekoctl chat --as {row.name!r}`.")
    return Conversation(conversation.stage, row, conversation.with_persona)


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip():
            yield line.strip()
