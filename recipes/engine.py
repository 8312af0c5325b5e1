"""Generation: prompts in, tokens out step by step, over whatever block the bank has in use.
Knows models and the transformers KV cache; nothing of characters or text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from recipes.base_model import BaseModel


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy, and then nothing else applies; a seed makes sampling repeatable."""

    temperature: float = 0.0
    top_p: float = 0.95
    repetition_penalty: float = 1.15  # of tokens already written (CTRL, arXiv 1909.05858, eq. 3); 1 is none
    seed: int | None = None


GREEDY = Sampling()


def decode(
    base: BaseModel, prompts: Sequence[list[int]], *, stop: list[int], max_new_tokens: int, sampling: Sampling = GREEDY
) -> Iterator[list[int | None]]:
    """Yield one token a row at each step, None for rows that have ended; ends when all have.

    A row ends with the tokens of `stop` (the last of them is still yielded), with the tokenizer's eos, or at
    `max_new_tokens`. Prompts are padded on the left and masked, so that all rows write at the same place of the cache.
    """
    from transformers import DynamicCache

    tokens, mask = _left_padded(prompts, base.device)
    cache = DynamicCache(config=base.model.config)
    generator = _generator(sampling, base.device)
    written: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    eos = {base.tokenizer.eos_token_id}
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    for _ in range(max_new_tokens):
        with torch.inference_mode():
            out = base.model(input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache,
                             use_cache=True, logits_to_keep=1)  # fmt: skip
            chosen = _choose(out.logits[:, -1].float(), written, sampling, generator)  # (B,)
        step = [None if over else token for token, over in zip(chosen.tolist(), ended, strict=True)]
        yield step
        for row, token in enumerate(step):
            if token is not None:
                written[row].append(token)
                ended[row] = token in eos or written[row][-len(stop) :] == stop
        if all(ended):
            return
        tokens, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)


def replies(
    base: BaseModel, prompts: Sequence[list[int]], *, stop: list[int], max_new_tokens: int, sampling: Sampling = GREEDY
) -> list[list[int]]:
    """The whole replies of a batch, end-of-turn tokens left off."""
    written: list[list[int]] = [[] for _ in prompts]
    for step in decode(base, prompts, stop=stop, max_new_tokens=max_new_tokens, sampling=sampling):
        for row, token in enumerate(step):
            if token is not None:
                written[row].append(token)
    return [without_stop(tokens, stop, base.tokenizer.eos_token_id) for tokens in written]


def without_stop(tokens: list[int], stop: list[int], eos: int | None) -> list[int]:
    """A reply without the tokens that end it."""
    if stop and tokens[-len(stop) :] == stop:
        return tokens[: -len(stop)]
    return tokens[:-1] if tokens and tokens[-1] == eos else tokens


def _left_padded(prompts: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) tokens and (B, T) mask, 1 where a token is real."""
    width = max(len(prompt) for prompt in prompts)
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return tokens.to(device), mask.to(device)


def _generator(sampling: Sampling, device: torch.device) -> torch.Generator | None:
    if sampling.temperature == 0:
        return None
    generator = torch.Generator(device=device)
    return generator.manual_seed(sampling.seed) if sampling.seed is not None else _seeded_anew(generator)


def _seeded_anew(generator: torch.Generator) -> torch.Generator:
    generator.seed()
    return generator


def _choose(
    logits: torch.Tensor, written: list[list[int]], sampling: Sampling, generator: torch.Generator | None
) -> torch.Tensor:
    """(B, vocabulary) -> (B,): the likeliest, or a draw from the nucleus (arXiv 1904.09751)."""
    if generator is None:
        return logits.argmax(-1)
    logits = torch.stack([_penalised(row, seen, sampling.repetition_penalty)
                          for row, seen in zip(logits, written, strict=True)])  # fmt: skip
    chances, order = torch.softmax(logits / sampling.temperature, -1).sort(-1, descending=True)
    beyond = chances.cumsum(-1) - chances >= sampling.top_p
    beyond[:, 0] = False  # the likeliest always stays
    chances[beyond] = 0.0
    drawn = torch.multinomial(chances, 1, generator=generator)
    return order.gather(-1, drawn)[:, 0]


def _penalised(logits: torch.Tensor, seen: list[int], penalty: float) -> torch.Tensor:
    """(vocabulary,) with what was written already made less likely: divided when positive, multiplied when not."""
    places = torch.tensor(sorted(set(seen)), dtype=torch.long, device=logits.device)
    kept = logits[places]
    return logits.index_put((places,), torch.where(kept > 0, kept / penalty, kept * penalty))
