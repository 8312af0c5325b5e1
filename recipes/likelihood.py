"""How likely a model finds the replies of token rows: the measure everything else is judged by.
Knows rows and models; nothing of characters or training.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch.nn import functional

from recipes.bank import Bank
from recipes.base_model import BaseModel
from recipes.block import Block
from recipes.exchanges import Row
from recipes.scores import Score, mean_nll

T = TypeVar("T")
ROWS_AT_ONCE = 4
TOKENS_AT_ONCE = 64  # of a vocabulary's logits each


class Said(NamedTuple):
    """What a model says to the N scored tokens of B rows."""

    logits: torch.Tensor  # (N, vocabulary)
    targets: torch.Tensor  # (N,)
    owner: torch.Tensor  # (N,) the row of each
    last: torch.Tensor  # (B, d) the hidden state at each row's last scored token


def reply_logits(base: BaseModel, rows: Sequence[Row]) -> Said:
    """Logits for the scored tokens alone.

    Rows are padded on the right: under causal attention no real token sees a pad, so no mask is needed and the
    fastest kernel applies. The output head runs on the N scored positions only.
    """
    tokens, scored = _padded(rows, base.device)
    keep = functional.pad(scored[:, 1:], (0, 1))  # position t-1 predicts token t
    with _head_sees_only(base.model, keep) as states:
        logits = base.model(input_ids=tokens, use_cache=False).logits.squeeze(0)  # [0] zeroes a copy on the way back
    ends = scored.shape[1] - 1 - scored.flip(1).int().argmax(1)  # the pads' ids say nothing: one may be the eos
    last = states[0][torch.arange(len(rows), device=base.device), ends]
    return Said(logits.float(), tokens[:, 1:][scored[:, 1:]], keep.nonzero()[:, 0], last)


def read_in_batches(base: BaseModel, rows: Sequence[Row], read: Callable[[Sequence[Row], Said], list[T]]) -> list[T]:
    """What is to be read of each row, a few rows at a time. The batches depend on the rows alone, so the same rows give
    the same bits (the shape of a batch changes the order of summation); no two batches' logits are held at once."""
    found: list[T] = []
    with torch.inference_mode():
        for start in range(0, len(rows), ROWS_AT_ONCE):
            batch = rows[start : start + ROWS_AT_ONCE]
            found += read(batch, reply_logits(base, batch))
    return found


def score(base: BaseModel, rows: Sequence[Row]) -> list[Score]:
    """One score a row, in order."""
    return read_in_batches(base, rows, totals)


def written_greedily(base: BaseModel, rows: Sequence[Row]) -> list[bool]:
    """Whether each row's scored tokens are those that greedy decoding would write after the others, but for near ties.

    One pass over all tokens instead of one a token: what is to be confirmed need not be written anew (the check that
    speculative decoding makes, arXiv 2211.17192).
    """

    def is_likeliest(batch: Sequence[Row], said: Said) -> list[bool]:
        differ = set(said.owner[said.logits.argmax(-1) != said.targets].tolist())
        return [place not in differ for place in range(len(batch))]

    return read_in_batches(base, rows, is_likeliest)


def totals(rows: Sequence[Row], said: Said) -> list[Score]:
    """One score a row from what `reply_logits` gave for these rows."""
    parts = zip(said.logits.split(TOKENS_AT_ONCE), said.targets.split(TOKENS_AT_ONCE), strict=True)  # each is copied
    losses = torch.cat([functional.cross_entropy(*part, reduction="none") for part in parts]).double()
    sums = torch.zeros(len(rows), dtype=torch.float64, device=losses.device).index_add_(0, said.owner, losses)
    return [Score(total, sum(row.scored)) for total, row in zip(sums.tolist(), rows, strict=True)]


def scored_under(bank: Bank, block: Block | None, rows: Sequence[Row]) -> list[Score]:
    """One score a row, under a block that need not be mounted (None: the bare base)."""
    with bank.using(block):
        return score(bank.base, rows)


def nll_under(bank: Bank, block: Block | None, rows: Sequence[Row]) -> float:
    """The same over all their tokens, in nats a token."""
    return mean_nll(scored_under(bank, block, rows))


def _padded(rows: Sequence[Row], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) tokens and (B, T) scored, padded on the right with zeros."""
    width = max(len(row.tokens) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    scored = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row.tokens)] = torch.tensor(row.tokens)
        scored[index, : len(row.scored)] = torch.tensor(row.scored)
    return tokens.to(device), scored.to(device)


@contextmanager
def _head_sees_only(model: Any, keep: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Within the context the output head gets (1, N, d): the hidden states where `keep` (B, T) is true. All of them,
    (B, T, d), are in the list afterwards."""
    states: list[torch.Tensor] = []

    def select(_module: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        states.append(args[0])
        return (args[0][keep].unsqueeze(0),)

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield states
    finally:
        handle.remove()
