"""A cohort: several characters trained together, each with a half that is its own and a half that is everybody's
(HyCoRA), or all with one block (a shared LoRA). Knows the network, rows and a run; nothing of files or the registry.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from recipes.bank import Bank
from recipes.block import Block
from recipes.cohort_recipe import CohortRecipe
from recipes.contrast import Contrast, weight
from recipes.exchanges import Row
from recipes.hyper_half import HyperHalf
from recipes.likelihood import reply_logits, score
from recipes.scores import Score, mean_nll


@dataclass(frozen=True)
class Member:
    """A character to learn: its conversations, its probes, and its persona as the encoder sees it."""

    name: str
    rows: Sequence[Row]
    probes: Sequence[Row]
    persona: torch.Tensor | None = None  # (p,)


class Sample(NamedTuple):
    """A conversation and whose it is."""

    role: int
    row: Row


@dataclass
class Learning:
    """The learner of a run: the network, and what it is trained on."""

    bank: Bank
    members: Sequence[Member]
    recipe: CohortRecipe
    seed: int

    def __post_init__(self) -> None:
        base, recipe = self.bank.base, self.recipe
        self.device = base.device
        self.personas = _stacked(self.members).to(self.device) if recipe.persona else None
        persona_width = 0 if self.personas is None else self.personas.shape[1]
        self.network = HyperHalf(base.shapes, recipe, len(self.members), self.seed, persona_width).to(self.device)
        width = base.model.get_output_embeddings().weight.shape[1]
        self.contrast = Contrast(recipe.character_width, width, recipe.contrast_width, recipe.temperature,
                                 self.seed).to(self.device)  # fmt: skip

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """The shared halves, the ids, the writers' last bias and the rest of the network, each at its own pace."""
        shared = [*self.network.shared_a.values(), *self.network.shared_b.values()]
        if not self.recipe.writes_something:
            return [(shared, self.recipe.pace_shared)]
        ids, biases = [self.network.characters], self.network.biases
        apart = {id(each) for each in (*shared, *ids, *biases)}
        network = [each for each in self.network.parameters() if id(each) not in apart]
        network += list(self.contrast.parameters()) if self.recipe.contrasts else []
        return [(shared, self.recipe.pace_shared), (ids, self.recipe.pace_ids), (biases, self.recipe.pace_bias),
                (network, self.recipe.pace_network)]  # fmt: skip

    def epoch(self, number: int) -> list[list[Sample]]:
        return batches(self.members, self.recipe.batch, self.recipe.per_role, random.Random(f"{self.seed}:{number}"))

    def tokens(self, batch: list[Sample]) -> int:
        return sum(len(sample.row.tokens) for sample in batch)

    def loss(self, batch: list[Sample], epoch: float) -> torch.Tensor:
        """Equation 6 over the number of tokens, since its likelihood is a sum over them."""
        roles = torch.tensor([sample.role for sample in batch], device=self.device)
        known, places = roles.unique(return_inverse=True)
        who = self.network.embeddings(self.personas, self._kept(epoch))
        halves = self.network(who[known]).of(places)  # of each row's role
        packed = self.bank.stacked(halves.a, halves.b, self.recipe.rank, self.recipe.alpha)
        with self.bank.using(packed):
            said = reply_logits(self.bank.base, [sample.row for sample in batch])
        loss = functional.cross_entropy(said.logits, said.targets)
        if not self.recipe.contrasts or len(known) < 2:  # nothing to be told from
            return loss
        recipe = self.recipe
        scale = weight(epoch, recipe.contrast_start, recipe.epochs, 0.0, recipe.contrast)
        return loss + scale * self.contrast(who[roles], said.last.float(), roles) / len(said.targets)

    def _kept(self, epoch: float) -> torch.Tensor | None:
        """Whose ids this step reads, (members, 1); None: everybody's. It follows from the seed and the moment alone."""
        if self.personas is None or not self.recipe.ids_left_out:
            return None
        order = random.Random(f"{self.seed}:{epoch:.9f}")
        kept = [[float(order.random() >= self.recipe.ids_left_out)] for _ in self.members]
        return torch.tensor(kept, device=self.device)

    @property
    def probes(self) -> list[Row]:
        return [probe for member in self.members for probe in member.probes]

    def evaluate(self) -> float:
        """Mean over members of the NLL of each one's probes, so that who talks much does not decide alone."""
        means = [mean_nll(self.read(place)) for place, member in enumerate(self.members) if member.probes]
        return sum(means) / len(means)

    def read(self, place: int) -> list[Score]:
        """How likely a member's probes are under its own block."""
        with self.bank.using(self.block(place)):
            return score(self.bank.base, self.members[place].probes)

    def block(self, place: int) -> Block:
        """A member's own, as an ordinary block."""
        with torch.no_grad():
            return self.network.materialised(self.network.embeddings(self.personas)[place])


def _stacked(members: Sequence[Member]) -> torch.Tensor:
    return torch.stack([member.persona for member in members if member.persona is not None])


def batches(members: Sequence[Member], size: int, per_role: int, order: random.Random) -> list[list[Sample]]:
    """Every conversation once, in batches of about `size`: `per_role` of a role side by side (half a batch at most), so
    that positives exist, neighbours in length together, and the roles spread evenly, so that negatives do. Where one
    outlasts the others, some batches are its own."""
    side_by_side = max(1, min(per_role, size // 2))
    learning = [_chunks(role, member.rows, side_by_side, order) for role, member in enumerate(members)]
    total = sum(len(member.rows) for member in members)
    found: list[list[Sample]] = [[] for _ in range(-(-total // size))]
    for place, chunks in enumerate(learning):
        for number, chunk in enumerate(chunks):
            at = (number + place / len(learning)) * len(found) / len(chunks)
            found[int(at)] += chunk
    for batch in found:
        if not batch:  # as many in every epoch, and none without anything
            batch.append(max(found, key=len).pop())
    order.shuffle(found)
    return found


def _chunks(role: int, rows: Sequence[Row], size: int, order: random.Random) -> list[list[Sample]]:
    """A role's conversations by `size`, the short ones first, nearly: neighbours differ from epoch to epoch."""
    ranked = sorted(rows, key=lambda row: len(row.tokens) * order.uniform(0.8, 1.25))
    samples = [Sample(role, row) for row in ranked]
    return [samples[at : at + size] for at in range(0, len(samples), size)]
