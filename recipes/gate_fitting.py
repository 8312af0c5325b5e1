"""Fits the gate's settings, and its contrastive head, on everybody's own prototypes. Knows the gate; nothing of tables.

Every known prompt is scored as if it were new, its own row left out, so nothing is judged on what it was fitted to and
the stored probes stay untouched for comparing one version of the gate with the next.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from recipes.gate import NEAREST, PROMPT, Scorer, Settings, log_softmax
from registry.roles import Roles

MOST_CHARACTERS = 64  # drawn at random when there are more: two numbers need no more
MOST_PROMPTS = 2000
RIGHT = 0.93  # share of the matches that `sure` must keep right on the fitted prompts; the promise is 0.90
LEAST_SURE, MOST_SURE = 0.34, 0.97
SEED = 0  # of what is drawn, and of the head's batches
HEAD_STEPS, HEAD_RATE, HEAD_DECAY, HEAD_BATCH, TEMPERATURE = 100, 3e-3, 1e-2, 256, 0.1


def fit(scorer: Scorer) -> tuple[Settings, dict[str, Any]]:
    """Settings for these characters under one signal, and what they were judged on.

    With fewer than two characters the defaults stand.
    """
    owners = _drawn(scorer.roles)
    if len(owners) < 2:
        return Settings(), {"prompts": 0}
    scores, labels = _examples(scorer, owners)  # (n, characters + 1), (n,)
    weights = _balanced(labels, len(owners))

    def logits(sharpness: float, nobody: float) -> np.ndarray:
        return sharpness * (scores + np.eye(len(owners) + 1)[-1] * nobody)

    def loss(point: np.ndarray) -> float:
        shares = log_softmax(logits(float(np.exp(point[0])), float(point[1])))
        return float(-(weights * shares[np.arange(len(labels)), labels]).sum())

    best = minimize(loss, x0=np.array([np.log(20.0), 0.0]), method="Nelder-Mead")
    settings = Settings(sharpness=float(np.exp(best.x[0])), nobody=float(best.x[1]))
    chances = np.exp(log_softmax(logits(settings.sharpness, settings.nobody)))
    return _thresholds(settings, chances, labels, len(owners))


def _drawn(roles: Roles) -> list[int]:
    """Characters with prompts enough to leave one out."""
    able = [owner for owner in roles.everybody if (roles.kinds[roles.rows(owner)] == PROMPT).sum() > NEAREST]
    if len(able) > MOST_CHARACTERS:
        able = sorted(np.random.default_rng(SEED).choice(able, MOST_CHARACTERS, replace=False).tolist())
    return able


def _examples(scorer: Scorer, owners: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Prompts and nobody's requests, each scored against everybody without itself; the label is a column."""
    roles = scorer.roles
    rows = [*(scorer.prototypes(owner) for owner in owners), scorer.nobody]
    whole = [*(roles.vectors[roles.rows(owner)] for owner in owners), scorer.nobody]
    asked = [*(np.flatnonzero(roles.kinds[roles.rows(owner)] == PROMPT) for owner in owners), np.arange(len(whole[-1]))]
    scores, labels = [], []
    for label, places in enumerate(asked):
        most = max(NEAREST, MOST_PROMPTS // len(asked))
        chosen = np.random.default_rng([SEED, label]).permutation(places)[:most]
        turns = whole[label][chosen]
        columns = [scorer.score(turns, other, chosen if place == label else None) for place, other in enumerate(rows)]
        scores.append(np.stack(columns, axis=1))
        labels += [label] * len(chosen)
    return np.concatenate(scores), np.array(labels)


def _balanced(labels: np.ndarray, nobody: int) -> np.ndarray:
    """(n,) weights: nobody's requests count as much together as everybody's prompts."""
    off = labels == nobody
    weights: np.ndarray = np.where(off, 0.5 / max(off.sum(), 1), 0.5 / max((~off).sum(), 1))
    return weights


def _thresholds(
    settings: Settings, chances: np.ndarray, labels: np.ndarray, nobody: int
) -> tuple[Settings, dict[str, Any]]:
    """`sure` is the least probability at which matches are right often enough."""
    best, top = chances[:, :-1].max(1), chances[:, :-1].argmax(1)
    asked = (chances[:, -1] < settings.lost) & (labels != nobody)
    right = top == labels
    matches = {step: right[asked & (best >= step)] for step in np.linspace(LEAST_SURE, MOST_SURE, 64)}
    good = [step for step, hits in matches.items() if hits.size and hits.mean() >= RIGHT]
    settings = replace(settings, sure=float(good[0] if good else MOST_SURE))
    decided = asked & (best >= settings.sure)
    prompts = labels != nobody
    return settings, {
        "prompts": int(prompts.sum()),
        "top_1": float(right[prompts].mean()),
        "decided": float(decided.sum() / prompts.sum()),
        "right_when_decided": float(right[decided].mean()) if decided.any() else None,
        "nobodys_called_unknown": float((chances[~prompts, -1] >= settings.lost).mean()),
    }


def train_head(roles: Roles) -> np.ndarray:
    """A (d, d) map H, x -> x + H x, under which prototypes of one character lie together and others apart.

    Supervised contrastive loss (Khosla et al., arXiv 2004.11362, eq. 2) over all prototypes, anchors in random batches.
    """
    import torch

    generator = torch.Generator().manual_seed(SEED)
    vectors, owners = torch.tensor(roles.vectors), torch.tensor(roles.owners)
    head = torch.zeros(vectors.shape[1], vectors.shape[1], requires_grad=True)
    optimizer = torch.optim.AdamW([head], lr=HEAD_RATE, weight_decay=HEAD_DECAY)
    for _ in range(HEAD_STEPS):
        chosen = torch.randperm(len(vectors), generator=generator)[:HEAD_BATCH]
        loss = _contrastive(vectors[chosen] + vectors[chosen] @ head.T, owners[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.detach().numpy()


def _contrastive(vectors: Any, owners: Any) -> Any:
    """(n, d), (n,) -> the mean over anchors that have a positive."""
    import torch

    near = torch.nn.functional.normalize(vectors, dim=-1)
    others = ~torch.eye(len(near), dtype=torch.bool)
    logits = (near @ near.T / TEMPERATURE).masked_fill(~others, -torch.inf)
    same = (owners[:, None] == owners[None]) & others
    shares = logits.log_softmax(1).masked_fill(~same, 0.0)
    anchors = same.any(1)
    return -(shares.sum(1) / same.sum(1).clamp(min=1))[anchors].mean()
