"""What a block says on its probes: the likelihood of each reference, the greedy replies, and a digest of the logits.
Onboarding records it, check and the certificate compare with it. Knows no database and no screen.

A character's probes always form the same batches, so that on one machine the same bytes give the same bits
(the shape of a batch changes the order of summation).
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neekoctl.stage import Stage
    from recipes.bank import Mix
    from recipes.exchanges import Messages
    from recipes.likelihood import Score
    from registry.tables import Probe

REPLIES_AT_ONCE = 32
REPLY_TOKENS = 32  # of a probe's greedy reply: a drift shows in the first words


@dataclass(frozen=True)
class Measured:
    """One probe's score and greedy reply (end of turn left off)."""

    score: Score
    reply: list[int]
    text: str


def heldout_messages(system: str, prompt: list[dict[str, str]], reference: str) -> Messages:
    """A probe as a conversation that ends with its reference."""
    from recipes.exchanges import with_system

    return with_system(system, [*prompt, {"role": "assistant", "content": reference}])


def measure(stage: Stage, mix: Mix, probes: list[Messages]) -> list[Measured]:
    """Score and answer every probe under the mounted blocks of `mix` (empty: the bare base)."""
    from recipes.likelihood import ROWS_AT_ONCE, score

    rows = [stage.form.row(messages, last_only=True) for messages in probes]
    scores = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        batch = rows[start : start + ROWS_AT_ONCE]
        with stage.bank.serving([mix] * len(batch)):
            scores += score(stage.base, batch)
    answers = _answers(stage, mix, [stage.form.prompt(messages[:-1]) for messages in probes])
    decode = stage.base.tokenizer.decode
    return [Measured(each, answer, decode(answer, skip_special_tokens=True))
            for each, answer in zip(scores, answers, strict=True)]  # fmt: skip


def _answers(stage: Stage, mix: Mix, prompts: list[list[int]]) -> list[list[int]]:
    """The beginning of each greedy reply; all at once, since a step of decoding costs little more for many rows."""
    from recipes.engine import replies

    found = []
    for start in range(0, len(prompts), REPLIES_AT_ONCE):
        batch = prompts[start : start + REPLIES_AT_ONCE]
        room = max(0, stage.base.longest - max(map(len, batch)))
        found += replies(stage.bank, batch, mix=mix, stop=stage.form.stop, max_new_tokens=min(REPLY_TOKENS, room))
    return found


def baseline(probes: Sequence[Probe]) -> float | None:
    """The recorded NLL of the references, in nats a token over all of them; None when nothing was held out."""
    tokens = sum(probe.tokens for probe in probes)
    return sum(probe.nll * probe.tokens for probe in probes) / tokens if tokens else None


def logits_digest(stage: Stage, mix: Mix, probes: list[Messages]) -> str:
    """sha256 over the logits of every reference token of the probes, in float32."""
    import torch

    from recipes.likelihood import ROWS_AT_ONCE, reply_logits

    digest = hashlib.sha256()
    for start in range(0, len(probes), ROWS_AT_ONCE):
        rows = [stage.form.row(messages, last_only=True) for messages in probes[start : start + ROWS_AT_ONCE]]
        with stage.bank.serving([mix] * len(rows)), torch.inference_mode():
            digest.update(reply_logits(stage.base, rows)[0].cpu().numpy().tobytes())
    return digest.hexdigest()


def environment(stage: Stage) -> dict[str, Any]:
    """What the bits of a reply depend on besides block and prompt."""
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
    }
