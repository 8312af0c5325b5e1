"""Chat at a terminal or through a pipe: reads lines, shows replies as they come. Knows the screen and the
conversation, and nothing of how a reply is made."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from neekoctl import render
from neekoctl.conversation import Conversation, Reply
from neekoctl.hosting import Host
from neekoctl.routing import Router, texts_of
from neekoctl.stage import Stage, existing_banks, stage_for
from recipes.engine import Sampling
from registry.errors import NeekoError, Terminated, UsageError
from registry.names import as_utf8
from registry.store import Registry
from registry.tables import Character

HELP = """\
/as NAME   let NAME answer from now on, whatever is said (nothing after /as: the base model)
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
    encoder: str | None = None
    signal: str = "all"
    bare: bool = False

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
    if options.bare and options.speaker is not None:
        raise UsageError("--bare and --as exclude each other: the base model answers, or somebody.")
    if (options.bare or options.speaker is not None) and options.signal != "all":
        raise UsageError("--gate finds whom you mean, and that is said already: leave it out.")
    if options.once is not None and not options.once.strip():
        raise UsageError("--once needs something to say.")
    talk = _Talk(registry, options)
    if options.once is not None:
        talk.once(as_utf8(options.once))  # an argument may hold any bytes, too
    elif sys.stdin.isatty():
        talk.repl()
    else:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # a pipe may hold any bytes
        for line in filter(None, map(str.strip, sys.stdin)):
            talk.answer(line)


class _Talk:
    """One chat: with somebody who was named, or with whomever the gate says is meant."""

    def __init__(self, registry: Registry, options: TalkOptions) -> None:
        self.registry, self.options = registry, options
        self.host: Host | None = None
        self.conversation: Conversation | None = None
        if options.speaker is not None:
            self.conversation = self._with(registry.resident(options.speaker))
        elif options.bare:
            self.conversation = self._with(None)
        elif registry.residents(brief=True):
            texts = texts_of(registry, options.encoder, render.say)
            router = Router(registry, texts, options.signal)
            self.host = Host(registry, router, options.base, render.say, options.persona)
        else:
            render.say("nobody lives here yet, so the base model answers")
            self.conversation = self._with(None)

    def _with(self, row: Character | None, standing: Stage | None = None) -> Conversation:
        registry, base = self.registry, self.options.base
        if (
            row
            and base
            and standing is None
            and row.bank_id not in [each.id for each in existing_banks(registry, base)]
        ):
            home = registry.bank_of(row).base
            raise UsageError(f"{row.name} lives over {home}: leave --base and NEEKOCTL_BASE out.")
        stage = stage_for(registry, row, base, say=render.say, standing=standing)
        return Conversation(stage, row, self.options.persona)

    def _turn(self, text: str) -> tuple[Conversation | None, str]:
        """Who answers what; says so when the gate chose."""
        if self.host is None:
            return self.conversation, text
        before = self.host.speaker
        conversation, text = self.host.turn(text)
        decision = self.host.decision
        assert decision is not None
        speaker = conversation.speaker if conversation else None
        if conversation is not None and speaker is None:
            render.say(f"the base model answers: {decision.reason}")
        elif speaker is not None and (before is None or before.id != speaker.id):
            render.say(f"{speaker.name} answers: {decision.reason}")
        return conversation, text

    def answer(self, text: str) -> None:
        """Print the reply as it comes."""
        conversation, text = self._turn(text)
        pieces = self._pieces(conversation, text) if conversation else iter([self._question()])
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()

    def _pieces(self, conversation: Conversation, text: str) -> Iterator[str]:
        return conversation.say(text, max_new_tokens=self.options.max_new_tokens, sampling=self.options.sampling)

    def _question(self) -> str:
        assert self.host is not None
        return self.host.question()

    def once(self, text: str) -> None:
        """One question; under --json one document."""
        if not self.options.json:
            self.answer(text)
            return
        conversation, text = self._turn(text)
        if conversation is not None:
            for _ in self._pieces(conversation, text):
                pass
        last = conversation.last if conversation else Reply(self._question())
        speaker = conversation.speaker if conversation else None
        decision = self.host.decision if self.host else None
        render.document({
            "character": speaker.name if speaker else None,
            "reply": last.text.strip(),
            "new_tokens": last.new_tokens,
            "seconds": round(last.seconds, 3),
            **({"decision": decision.outcome, "reason": decision.reason} if decision else {}),
        })  # fmt: skip

    # at a terminal

    def repl(self) -> None:
        import readline  # noqa: F401  gives input() its history and editing

        render.say("/help lists the commands, /quit leaves")
        while True:
            try:
                line = input(f"you to {self._speaking()}> ").strip()
            except EOFError:
                return
            except Terminated:
                raise
            except KeyboardInterrupt:
                render.say("/quit leaves")
                continue
            if line == "/quit":
                return
            if line.startswith("/"):
                self.command(line)
            elif line:
                self._answer_interruptibly(line)

    def _speaking(self) -> str:
        """Who would answer as things stand."""
        if self.host is not None:
            return self.host.speaker.name if self.host.speaker else "whomever you mean"
        speaker = self.conversation.speaker if self.conversation else None
        return speaker.name if speaker else "the base model"

    def _answer_interruptibly(self, line: str) -> None:
        """Ctrl-C ends the reply, not the chat."""
        try:
            self.answer(line)
        except Terminated:
            raise
        except (KeyboardInterrupt, NeekoError) as error:
            if self.host is not None:
                self.host.take_back()
            if isinstance(error, NeekoError):
                render.error(str(error))
            else:
                render.say("interrupted; that turn is forgotten")

    def command(self, line: str) -> None:
        """A line that begins with a slash."""
        command, _, rest = line.partition(" ")
        try:
            match command:
                case "/as":
                    self._hand_over(rest.strip())
                case "/who":
                    names = [row.name for row in self.registry.residents(brief=True)]
                    render.say(f"{self._speaking()} answers; here are {', '.join(names) or 'nobody'}")
                case "/reset":
                    self._reset()
                case "/help":
                    render.err().print(HELP, markup=False)
                case _:
                    render.say(f"there is no command {command}; /help lists them")
        except NeekoError as error:
            render.error(str(error))

    def _reset(self) -> None:
        if self.host is not None:
            self.host.reset()
        if self.conversation is not None:
            self.conversation.history.clear()
        render.say("forgotten")

    def _hand_over(self, name: str) -> None:
        """From now on somebody who is named answers, or the base model; the gate is asked no more."""
        row = self.registry.resident(name) if name else None
        standing = self.conversation.stage if self.conversation else self.host.stage if self.host else None
        self.conversation = self._with(row, standing)
        self.host = None
