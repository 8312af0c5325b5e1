"""Equations 5 to 8 against loops that spell them out."""

import math

import pytest
import torch

from recipes.contrast import Contrast, weight


def test_the_loss_is_equation_seven() -> None:
    contrast = Contrast(6, 9, 4, 0.1, seed=0)
    generator = torch.Generator().manual_seed(1)
    embeddings, states = torch.randn(3, 6, generator=generator), torch.randn(5, 9, generator=generator)
    roles = torch.tensor([0, 1, 0, 2, 0])
    z_r = [contrast.role.weight @ embeddings[role] + contrast.role.bias for role in roles]  # (5)
    z_t = [contrast.reply.weight @ state + contrast.reply.bias for state in states]

    def close(i: int, j: int) -> float:
        return math.exp(torch.cosine_similarity(z_r[i], z_t[j], dim=0).item() / 0.1)

    expected = 0.0
    for i in range(5):
        positives = [p for p in range(5) if roles[p] == roles[i]]
        everybody = sum(close(i, j) for j in range(5))
        expected += -sum(math.log(close(i, p) / everybody) for p in positives) / len(positives)
    assert contrast(embeddings[roles], states, roles).item() == pytest.approx(expected, rel=1e-5)


def test_one_role_has_nobody_to_be_told_from() -> None:
    with pytest.raises(ValueError, match="two roles"):
        Contrast(6, 9, 4, 0.1, seed=0)(torch.randn(2, 6), torch.randn(2, 9), torch.tensor([1, 1]))


def test_it_draws_a_role_to_its_own_replies() -> None:
    contrast = Contrast(6, 9, 4, 0.1, seed=0)
    who = torch.nn.Parameter(torch.randn(2, 6, generator=torch.Generator().manual_seed(0)))
    states = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    roles = torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.Adam([who, *contrast.parameters()], lr=0.05)
    first = contrast(who[roles], states, roles).item()
    for _ in range(50):
        optimizer.zero_grad()
        contrast(who[roles], states, roles).backward()
        optimizer.step()
    assert contrast(who[roles], states, roles).item() < 0.8 * first
    anchors, reply = contrast.role(who), contrast.reply(states)[0]
    own, other = (torch.cosine_similarity(each, reply, dim=0) for each in anchors)
    assert own > other


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.0), (1, 0.0), (2, 0.1), (4, 0.3)])
def test_lambda_rises_linearly_from_its_start(epoch: float, expected: float) -> None:
    assert weight(epoch, 1, 4, 0.0, 0.3) == pytest.approx(expected)


def test_lambda_without_a_stretch_to_rise_in() -> None:
    assert weight(0.5, 1, 1, 0.05, 0.3) == 0.05
    assert weight(1, 1, 1, 0.05, 0.3) == 0.3
