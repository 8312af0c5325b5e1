"""What a block says on its probes: the likelihood of each reference, the greedy replies, and a digest of the logits.
Onboarding records it, check and the certificate compare with it. Knows no database and no screen.

A character's probes always form the same batches, so that on one machine the same bytes give the same bits.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from recipes.exchanges import Messages, with_system
from recipes.scores import Score, mean_nll
from registry.seals import digest

if TYPE_CHECKING:
    from neekoctl.stage import Stage
    from recipes.bank import Mix
    from recipes.exchanges import Row
    from recipes.likelihood import Said
    from registry.tables import Probe

REPLIES_AT_ONCE = 32
REPLY_TOKENS = 32  # of a probe's greedy reply: a drift shows in the first words
DECIDING = ("torch", "transformers", "device", "dtype", "cpu", "threads")  # of an environment: what decides the bits


@dataclass(frozen=True)
class Measured:
    """One probe's score and greedy reply (end of turn left off)."""

    score: Score
    reply: list[int]
    text: str


def heldout_messages(system: str, prompt: list[dict[str, str]], reference: str) -> Messages:
    """A probe as a conversation that ends with its reference."""
    return with_system(system, [*prompt, {"role": "assistant", "content": reference}])


def measure(stage: Stage, mix: Mix, probes: list[Messages]) -> list[Measured]:
    """Score and answer every probe under the mounted blocks of `mix` (empty: the bare base)."""
    answers = answered(stage, mix, probes)
    return [Measured(each, answer, text)
            for each, (answer, text) in zip(scored(stage, mix, probes), answers, strict=True)]  # fmt: skip


def scored(stage: Stage, mix: Mix, probes: list[Messages]) -> list[Score]:
    """How likely each probe's reference is under the mounted blocks of `mix`."""
    from recipes.likelihood import score

    with stage.bank.serving([mix]):
        return score(stage.base, _rows(stage, probes))


def _rows(stage: Stage, probes: list[Messages]) -> list[Row]:
    return [stage.form.row(messages, last_only=True) for messages in probes]


def answered(stage: Stage, mix: Mix, probes: list[Messages]) -> list[tuple[list[int], str]]:
    """The beginning of each probe's greedy reply: token ids, and the same as text.

    Many at once, since a step of decoding costs little more for many rows.
    """
    from recipes.engine import replies

    prompts, found = [stage.form.prompt(messages[:-1]) for messages in probes], []
    for start in range(0, len(prompts), REPLIES_AT_ONCE):
        batch = prompts[start : start + REPLIES_AT_ONCE]
        found += replies(stage.bank, batch, mix=mix, stop=stage.form.stop, max_new_tokens=_room(stage, batch))
    return [(answer, stage.base.tokenizer.decode(answer, skip_special_tokens=True)) for answer in found]


def _room(stage: Stage, prompts: Sequence[list[int]]) -> int:
    """How many tokens each of a batch may say: the base's positions end behind the longest prompt."""
    return max(0, min(REPLY_TOKENS, stage.base.longest - max(map(len, prompts))))


def confirmed(stage: Stage, mix: Mix, probes: list[Messages], replies: list[list[int]]) -> list[bool]:
    """Whether these would be the greedy replies again; a near tie may say no where `answered` says yes."""
    from recipes.likelihood import written_greedily

    prompts = [stage.form.prompt(messages[:-1]) for messages in probes]
    rooms = [_room(stage, prompts[place - place % REPLIES_AT_ONCE :][:REPLIES_AT_ONCE]) for place in range(len(probes))]
    rows = [stage.form.answer(messages[:-1], reply, ended=len(reply) < room)
            for messages, reply, room in zip(probes, replies, rooms, strict=True)]  # fmt: skip
    with stage.bank.serving([mix]):
        return written_greedily(stage.base, rows)


def recorded(probes: Sequence[Probe]) -> list[Score]:
    """What each probe was scored with on the day of onboarding."""
    return [Score(probe.nll * probe.tokens, probe.tokens) for probe in probes]


def baseline(probes: Sequence[Probe]) -> float | None:
    """The recorded NLL of the references, in nats a token over all of them; None when nothing was held out."""
    scores = recorded(probes)
    return mean_nll(scores) if any(each.tokens for each in scores) else None


@dataclass(frozen=True)
class Seen:
    """What a model said to the references of some probes."""

    logits: str  # sha256 over those of every reference token, in float32
    scores: list[Score] = field(compare=False)  # they follow from the logits


def seen(stage: Stage, mix: Mix, probes: list[Messages]) -> Seen:
    """Read the references of the probes under the mounted blocks of `mix`."""
    from recipes.likelihood import read_in_batches, totals

    hashed = hashlib.sha256()

    def read(batch: Sequence[Row], said: Said) -> list[Score]:
        hashed.update(said.logits.cpu().numpy().tobytes())
        return totals(batch, said)

    with stage.bank.serving([mix]):
        scores = read_in_batches(stage.base, _rows(stage, probes), read)
    return Seen(hashed.hexdigest(), scores)


def environment(stage: Stage, probes: list[Messages]) -> dict[str, Any]:
    """Where and with what somebody was measured; the bits of a reply depend on what is `DECIDING`. `tokens` is a digest
    of the probes as they are read: tokenizer and chat template are in it, and nothing else of the base."""
    import torch

    device = stage.base.device
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "neekoctl": version("neekoctl"),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "device": f"{device.type} {card}",
        "dtype": str(stage.base.dtype).removeprefix("torch."),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "cores": os.cpu_count() if device.type == "cpu" else None,
        "tokens": digest([row.tokens for row in _rows(stage, probes)]),
    }
