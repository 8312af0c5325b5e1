"""Generation with continuous batching: requests for different characters join and leave between steps.
Knows the bank, models and the transformers KV cache; nothing of characters or text.

The rows of the batch are padded on the left and masked, so that all write at the same place of the cache. Whoever
joins is read in a pass of its own and then laid beside the others; whoever has ended is taken out.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch.nn.functional import pad

from recipes.bank import Bank, Mix

COLDEST = 1e-4  # temperature below which a draw is the likeliest token whatever the dice say
MOST_ROWS = 32  # of one batch; whoever comes later waits


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy, and then nothing else applies; a seed makes sampling repeatable."""

    temperature: float = 0.0
    top_p: float = 0.95
    repetition_penalty: float = 1.15  # of tokens already written (CTRL, arXiv 1909.05858, eq. 3); 1 is none
    seed: int | None = None


GREEDY = Sampling()


@dataclass(frozen=True)
class Request:
    """One reply to be written: after which tokens, by which blocks, until what."""

    prompt: list[int]
    mix: Mix
    stop: list[int]
    max_new_tokens: int
    sampling: Sampling = GREEDY


@dataclass
class _Row:
    ticket: int
    request: Request
    generator: torch.Generator | None
    written: list[int] = field(default_factory=list)


class Engine:
    """The batch that is being written, and the queue before it.

    The blocks a request names must be resident when it is submitted, and are kept so until it has ended.
    """

    def __init__(self, bank: Bank, most_rows: int = MOST_ROWS) -> None:
        self.bank, self.base, self.most_rows = bank, bank.base, most_rows
        self._waiting: deque[_Row] = deque()
        self._rows: list[_Row] = []
        self._cache: Any = None  # of transformers, one row for each of `_rows`
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=self.base.device)  # (B, T), 1 where a token is real
        self._tickets = 0

    @property
    def busy(self) -> bool:
        return bool(self._rows or self._waiting)

    def submit(self, request: Request) -> int:
        """Queue a request and return its ticket. Raises KeyError when a block it names is not resident."""
        if absent := [at for at in request.mix if not self.bank.is_mounted(at)]:
            raise KeyError(absent[0])
        for at in request.mix:
            self.bank.pin(at)
        self._tickets += 1
        self._waiting.append(_Row(self._tickets, request, _generator(request.sampling, self.base.device)))
        return self._tickets

    def cancel(self, ticket: int) -> None:
        """Forget a request, wherever it stands."""
        self._end([row for row in self._all() if row.ticket == ticket])

    def step(self) -> list[tuple[int, int]]:
        """One more token for everybody, the newcomers' first included: (ticket, token), the end of turn too.

        Whatever goes wrong within a step ends every request: a batch half a token further cannot go on.
        """
        self._dismiss()
        try:
            with torch.inference_mode():
                tokens = self._continue() + self._admit()
        except BaseException:
            self._end(self._all())
            raise
        self._dismiss()
        return tokens

    def _all(self) -> list[_Row]:
        return [*self._waiting, *self._rows]

    def _end(self, rows: Sequence[_Row]) -> None:
        for row in rows:
            row.request = replace(row.request, max_new_tokens=0)
        self._dismiss()

    def ended(self, ticket: int) -> bool:
        """Whether nothing more will come for this ticket."""
        return all(row.ticket != ticket for row in self._all())

    # one step

    def _continue(self) -> list[tuple[int, int]]:
        if not self._rows:
            return []
        last = torch.tensor([[row.written[-1]] for row in self._rows], device=self.base.device)  # (B, 1)
        positions = self._mask.sum(-1, keepdim=True)
        self._mask = pad(self._mask, (0, 1), value=1)
        return self._write(self._rows, last, self._mask, positions, self._cache)

    def _admit(self) -> list[tuple[int, int]]:
        """Read the prompts of whoever finds room, and lay their rows beside the others."""
        from transformers import DynamicCache

        room = self.most_rows - len(self._rows)
        rows = list(islice(self._waiting, room))
        if not rows:
            return []
        tokens, mask = _left_padded([row.request.prompt for row in rows], self.base.device)
        cache = DynamicCache()  # every layer whole: a sliding window is the mask's business, and rows can be joined
        written = self._write(rows, tokens, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)
        self._mask, self._cache = _joined(self._mask, self._cache, mask, cache)
        self._rows += [self._waiting.popleft() for _ in rows]
        self._neighbours_together()
        return written

    def _write(self, rows: list[_Row], tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor,
               cache: Any) -> list[tuple[int, int]]:  # fmt: skip
        """One pass over (B, T) tokens, and the token each row chooses."""
        with self.bank.serving([row.request.mix for row in rows], tokens=tokens.shape[1]):
            logits = self.base.model(input_ids=tokens, attention_mask=mask, position_ids=positions,
                                     past_key_values=cache, use_cache=True, logits_to_keep=1).logits  # fmt: skip
        logits = logits[:, -1].float()  # (B, vocabulary)
        greedy = logits.argmax(-1).tolist()
        for row, likeliest, line in zip(rows, greedy, logits, strict=True):
            row.written.append(likeliest if row.generator is None else _draw(line, row))
        return [(row.ticket, row.written[-1]) for row in rows]

    def _neighbours_together(self) -> None:
        """Rows of one character side by side, so that they share one product."""
        first = {mix: place for place, mix in reversed([*enumerate(_key(row) for row in self._rows)])}
        self._keep(sorted(range(len(self._rows)), key=lambda place: first[_key(self._rows[place])]))

    def _dismiss(self) -> None:
        """Take out whoever has ended, and let their blocks go."""
        eos = self.base.tokenizer.eos_token_id
        for row in [row for row in self._all() if _has_ended(row, eos)]:
            for at in row.request.mix:
                self.bank.unpin(at)
        self._waiting = deque(row for row in self._waiting if not _has_ended(row, eos))
        self._keep([place for place, row in enumerate(self._rows) if not _has_ended(row, eos)])

    def _keep(self, places: list[int]) -> None:
        """Only these rows, in this order; padding that none of them needs is cut off."""
        if places == list(range(len(self._rows))):
            return
        self._rows = [self._rows[place] for place in places]
        if not places:
            self._cache, self._mask = None, self._mask[:0, :0]
            return
        index = torch.tensor(places, device=self.base.device)
        with torch.inference_mode():
            self._mask = self._mask[index]
            spare = int((self._mask.sum(0) > 0).int().argmax())
            self._mask = self._mask[:, spare:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[index, :, spare:], layer.values[index, :, spare:]


def decode(
    bank: Bank, prompts: Sequence[list[int]], *, mix: Mix, stop: list[int], max_new_tokens: int,
    sampling: Sampling = GREEDY,
) -> Iterator[list[int | None]]:  # fmt: skip
    """Write replies to a batch of prompts by one character; yields one token a row at each step, None for rows that
    have ended. Row i draws with the seed plus i."""
    engine = Engine(bank, most_rows=len(prompts))
    tickets = []
    for place, prompt in enumerate(prompts):
        own = sampling if sampling.seed is None else replace(sampling, seed=(sampling.seed + place) % 2**63)
        tickets.append(engine.submit(Request(prompt, mix, stop, max_new_tokens, own)))
    try:
        while any(not engine.ended(ticket) for ticket in tickets):
            tokens = dict(engine.step())
            if tokens:
                yield [tokens.get(ticket) for ticket in tickets]
    finally:
        for ticket in tickets:
            engine.cancel(ticket)


def replies(
    bank: Bank, prompts: Sequence[list[int]], *, mix: Mix, stop: list[int], max_new_tokens: int
) -> list[list[int]]:
    """The whole greedy replies of a batch, end-of-turn tokens left off."""
    written: list[list[int]] = [[] for _ in prompts]
    for step in decode(bank, prompts, mix=mix, stop=stop, max_new_tokens=max_new_tokens):
        for row, token in enumerate(step):
            if token is not None:
                written[row].append(token)
    return [without_stop(tokens, stop, bank.base.tokenizer.eos_token_id) for tokens in written]


def without_stop(tokens: list[int], stop: list[int], eos: int | None) -> list[int]:
    """A reply without the tokens that end it."""
    if stop and tokens[-len(stop) :] == stop:
        return tokens[: -len(stop)]
    return tokens[:-1] if tokens and tokens[-1] == eos else tokens


def _has_ended(row: _Row, eos: int | None) -> bool:
    request, written = row.request, row.written
    stopped = bool(request.stop) and written[-len(request.stop) :] == request.stop
    return len(written) >= request.max_new_tokens or stopped or written[-1:] == [eos]


def _key(row: _Row) -> tuple[tuple[Any, float], ...]:
    return tuple(row.request.mix.items())


def _left_padded(prompts: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) tokens and (B, T) mask, 1 where a token is real."""
    width = max(len(prompt) for prompt in prompts)
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return tokens.to(device), mask.to(device)


def _joined(mask: torch.Tensor, cache: Any, newer: torch.Tensor, beside: Any) -> tuple[torch.Tensor, Any]:
    """Two batches as one: masks (B, T) and caches, the shorter padded on the left."""
    if cache is None:
        return newer, beside
    width = max(mask.shape[1], newer.shape[1])
    for layer, other in zip(cache.layers, beside.layers, strict=True):
        for kind in ("keys", "values"):  # (B, heads, T, d_head)
            parts = [getattr(each, kind) for each in (layer, other)]
            setattr(layer, kind, torch.cat([pad(part, (0, 0, width - part.shape[2], 0)) for part in parts]))
    return torch.cat([pad(each, (width - each.shape[1], 0)) for each in (mask, newer)]), cache


def _generator(sampling: Sampling, device: torch.device) -> torch.Generator | None:
    if sampling.temperature < COLDEST:
        return None
    generator = torch.Generator(device=device)
    return generator.manual_seed(sampling.seed) if sampling.seed is not None else _seeded_anew(generator)


def _seeded_anew(generator: torch.Generator) -> torch.Generator:
    generator.seed()
    return generator


def _draw(logits: torch.Tensor, row: _Row) -> int:
    """A draw from the nucleus (arXiv 1904.09751) of (vocabulary,) logits."""
    sampling = row.request.sampling
    logits = _penalised(logits, row.written, sampling.repetition_penalty)
    chances, order = torch.softmax(logits / sampling.temperature, -1).sort(-1, descending=True)
    beyond = chances.cumsum(-1) - chances >= sampling.top_p
    beyond[0] = False  # the likeliest always stays
    chances[beyond] = 0.0
    return int(order[torch.multinomial(chances, 1, generator=row.generator)])


def _penalised(logits: torch.Tensor, seen: list[int], penalty: float) -> torch.Tensor:
    """(vocabulary,) with what was written already made less likely: divided when positive, multiplied when not."""
    places = torch.tensor(sorted(set(seen)), dtype=torch.long, device=logits.device)
    kept = logits[places]
    return logits.index_put((places,), torch.where(kept > 0, kept / penalty, kept * penalty))
