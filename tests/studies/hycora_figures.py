"""What the HyCoRA study looks at besides likelihoods: the written halves themselves (the paper's Figure 4), and how
many numbers are trained for how many roles (its Figure 3). Knows blocks and shapes; nothing of questions.
"""

from collections.abc import Sequence

import numpy as np
import torch

from recipes.block import Block
from recipes.cohort_recipe import load_cohort_recipe
from recipes.contrast import Contrast
from recipes.hyper_half import LAYER, HyperHalf, Shapes
from recipes.recipe import load_recipe
from tests.studies.hycora_ways import Way, alike

ROLES = (1, 4, 16, 64, 256)


def scattered(blocks: Sequence[Block], half: str) -> np.ndarray:
    """(n, layers, 2): t-SNE of what is written for every character at every layer (van der Maaten and Hinton, 2008)."""
    from sklearn.manifold import TSNE

    points = torch.stack([_layers(block, half) for block in blocks])  # (n, layers, numbers)
    flat = points.flatten(0, 1).double().numpy()  # other threads, other sums: the map would differ
    drawn = TSNE(perplexity=min(30, len(flat) // 4), init="pca", random_state=0, method="exact").fit_transform(flat)
    found: np.ndarray = drawn.reshape(*points.shape[:2], 2)
    return found


def _layers(block: Block, half: str) -> torch.Tensor:
    """(layers, numbers): one half at all projections of a layer, one behind the other."""
    found: dict[int, list[torch.Tensor]] = {}
    for path, pair in block.pairs.items():
        number = LAYER.search(path)
        found.setdefault(int(number.group()) if number else -1, []).append(getattr(pair, half).flatten())
    return torch.stack([torch.cat(found[layer]) for layer in sorted(found)])


def trained(shapes: Shapes, hidden: int, ways: Sequence[Way]) -> dict[str, list[int]]:
    """How many numbers each way trains together for so many roles; `hidden` is the width of the base's states."""
    return {way.name: [_count(shapes, hidden, way, roles) for roles in ROLES] for way in ways}


def _count(shapes: Shapes, hidden: int, way: Way, roles: int) -> int:
    if way.kind == "independent":
        rank = load_recipe("standard", way.changes).rank
        return roles * rank * sum(d_out + d_in for d_out, d_in in shapes.values())
    recipe = load_cohort_recipe(way.kind, way.changes)
    network = HyperHalf(shapes, recipe, roles, seed=0)
    halves = [*network.shared_a.values(), *network.shared_b.values()]  # all that is trained where nothing is written
    contrast = Contrast(recipe.character_width, hidden, recipe.contrast_width, recipe.temperature, seed=0)
    learned = [*network.parameters(), *(contrast.parameters() if recipe.contrasts else ())]
    return sum(each.numel() for each in (halves if way.kind == "shared" else learned))


def untrained_likeness(shapes: Shapes, way: Way, roles: int) -> float:
    """Mean cosine of A between roles as the network writes it before it has learned anything."""
    network = HyperHalf(shapes, load_cohort_recipe(way.kind, way.changes), roles, seed=0)
    with torch.no_grad():
        return alike([network.materialised(each) for each in network.embeddings(None)])
