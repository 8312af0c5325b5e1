"""How likely a model finds the replies of token rows: the measure everything else is judged by.
Knows rows and models; nothing of characters or training.

NLL of a row = -1/N sum_t log p(x_t | x_<t) over its N scored tokens, in nats a token.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from recipes.base_model import BaseModel
from recipes.exchanges import Row

ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class Score:
    """Total negative log-likelihood of a row's scored tokens, and how many there are."""

    total: float
    tokens: int

    @property
    def nll(self) -> float:
        return self.total / max(self.tokens, 1)


def mean_nll(scores: Sequence[Score]) -> float:
    """Over all tokens, so that exp of it is the perplexity."""
    return sum(score.total for score in scores) / max(sum(score.tokens for score in scores), 1)


def perplexity(nll: float) -> float:
    return math.exp(min(nll, 700.0))


def reply_logits(base: BaseModel, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits for the scored tokens alone: (N, vocabulary), their targets (N,), and the row of each (N,).

    Rows are padded on the right: under causal attention no real token sees a pad, so no mask is needed and the
    fastest kernel applies. The output head runs on the N scored positions only.
    """
    tokens, scored = _padded(rows, base.device)
    keep = functional.pad(scored[:, 1:], (0, 1))  # position t-1 predicts token t
    with _head_sees_only(base.model, keep):
        logits = base.model(input_ids=tokens, use_cache=False).logits[0]  # (N, vocabulary)
    return logits.float(), tokens[:, 1:][scored[:, 1:]], keep.nonzero()[:, 0]


def score(base: BaseModel, rows: Sequence[Row]) -> list[Score]:
    """One score a row, in order. The batches depend on the rows alone, so the same rows give the same bits."""
    scores: list[Score] = []
    with torch.inference_mode():
        for start in range(0, len(rows), ROWS_AT_ONCE):
            batch = rows[start : start + ROWS_AT_ONCE]
            logits, targets, owner = reply_logits(base, batch)
            losses = functional.cross_entropy(logits, targets, reduction="none").double()
            totals = torch.zeros(len(batch), dtype=torch.float64, device=losses.device).index_add_(0, owner, losses)
            scores += [Score(total, sum(row.scored)) for total, row in zip(totals.tolist(), batch, strict=True)]
    return scores


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
def _head_sees_only(model: Any, keep: torch.Tensor) -> Iterator[None]:
    """Within the context the output head gets (1, N, d): the hidden states where `keep` (B, T) is true."""

    def select(_module: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (args[0][keep].unsqueeze(0),)

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
