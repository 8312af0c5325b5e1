"""Hyper-contrastive learning (HyCoRA, arXiv 2511.08017, eq. 5-8): a role's embedding is drawn to the states that its
own replies end in, and away from those of others. Knows tensors alone.

    z_r = W_r e_c + b_r,  z_t = W_t e_t + b_t                                            (5)
    L_cl = sum_i -1/|P(i)| sum_{p in P(i)} log softmax_j(sim(z_r_i, z_t_j) / tau)[p]     (7)
    lambda = lambda_min + (lambda_max - lambda_min) max(0, (ep - ep_st) / (ep_to - ep_st))   (8)

Roles are the anchors and replies what they are compared with, as in the paper; its public code has it the other way
round, and a cosine for Qwen2 where equation 8 is linear.
"""

import torch
from torch import nn
from torch.nn import functional


class Contrast(nn.Module):
    """The two projections of equation 5 and the loss over them."""

    def __init__(self, character_width: int, state_width: int, width: int, temperature: float, seed: int) -> None:
        super().__init__()
        self.temperature = temperature
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.role, self.reply = nn.Linear(character_width, width), nn.Linear(state_width, width)

    def forward(self, who: torch.Tensor, states: torch.Tensor, roles: torch.Tensor) -> torch.Tensor:
        """Equation 7 over a batch of n samples: `who` (n, d_c) the role embedding of each, `states` (n, d) the hidden
        state of its last reply token, `roles` (n,) whose it is.

        Raises:
            ValueError: the batch has one role only, so that there is nothing to be told from.
        """
        if len(roles.unique()) < 2:
            raise ValueError("a contrastive batch needs two roles at least")
        anchors = functional.normalize(self.role(who), dim=1)
        replies = functional.normalize(self.reply(states), dim=1)
        chances = (anchors @ replies.T / self.temperature).log_softmax(1)
        positive = (roles[:, None] == roles[None]).to(chances.dtype)
        return -((chances * positive).sum(1) / positive.sum(1)).sum()


def weight(epoch: float, start: float, stop: float, lowest: float, highest: float) -> float:
    """Equation 8: lambda after `epoch` epochs, rising from `start` to `stop`."""
    if stop <= start:
        return highest if epoch >= start else lowest
    return lowest + (highest - lowest) * max(0.0, (epoch - start) / (stop - start))
