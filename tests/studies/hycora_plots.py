"""The plots of the HyCoRA study. Knows results and blocks; tells nothing in words."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.hyper_half import likeness
from tests.studies.hycora_figures import ROLES, scattered, trained
from tests.studies.hycora_newcomers import AMOUNTS, METHODS, TARGETS
from tests.studies.hycora_results import Arrivals, Results, distinctness, likelihood
from tests.studies.hycora_ways import B_WRITTEN, BOTH_WRITTEN, HYCORA, INDEPENDENT, NEEKO, SHARED

if TYPE_CHECKING:
    from tests.studies.hycora import Study

WRITTEN = ((BOTH_WRITTEN, "a"), (B_WRITTEN, "b"), (HYCORA, "a"))  # of which t-SNE draws the written half
COLOURS = ("#1b9e77", "#66a61e", "#d95f02", "#7570b3", "#a6761d", "#e7298a", "#666666", "#1f78b4")
FAINT = 0.25  # of the first layer's points; the last one's are opaque


def draw(path: Path, paint: Callable[[Any], None]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "hycora"  # the same numbers draw the same file
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(13, 4.4), layout="constrained")
    paint(figure)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def numbers(cast: "Study") -> dict[str, list[int]]:
    """Trained by each way for so many roles; HyCoRA's also with everybody's own part, as in the tables."""
    base = cast.bank.base
    hidden = base.model.get_output_embeddings().weight.shape[1]
    found = trained(base.shapes, hidden, (INDEPENDENT, SHARED, *(way for way, _ in WRITTEN)))
    whole = [each + alone for each, alone in zip(found[HYCORA.name], found[INDEPENDENT.name], strict=True)]
    return {**found, f"{HYCORA.name} with the parts of one's own": whole}


def ways(figure: Any, results: Results, arrivals: Arrivals, cast: "Study") -> None:
    """Likelihood against distinctness, newcomers over exchanges, numbers trained over roles (Figure 3)."""
    left, middle, right = figure.subplots(1, 3)
    for colour, way in zip(COLOURS, results.ways, strict=False):
        if way == NEEKO.name:  # its distinctness is nobody's
            continue
        x, y = (results.interval(measure, way) for measure in (distinctness, likelihood))
        bars = {"xerr": [[x.mean - x.low], [x.high - x.mean]], "yerr": [[y.mean - y.low], [y.high - y.mean]]}
        left.errorbar(x.mean, y.mean, **bars, color=colour, marker="o", label=way, linewidth=0.8)
    left.set(xlabel="distinctness, nats a token", ylabel="log-likelihood, nats a token", title="up and right is better")
    for colour, method in zip(COLOURS, METHODS, strict=False):
        amounts = [each for each in AMOUNTS if (method, each) in arrivals.keys]
        shares = [arrivals.share(method, each).mean for each in amounts]
        middle.plot([AMOUNTS.index(each) for each in amounts], shares, color=colour, marker="o", label=method)
    middle.plot([AMOUNTS.index(each) for each in TARGETS], list(TARGETS.values()), "k_", markersize=14, label="target")
    middle.set_xticks(range(len(AMOUNTS)), [str(each) for each in AMOUNTS])
    middle.set(xlabel="exchanges of the newcomer", title="perplexity as a share of the base's")
    for colour, (name, counts) in zip(COLOURS, numbers(cast).items(), strict=False):
        right.plot(ROLES, [count / 1e6 for count in counts], color=colour, marker="o", label=name)
    right.set(xscale="log", yscale="log", xlabel="roles", title="numbers trained, millions")
    for axes in (left, middle, right):
        axes.legend(fontsize=6)


def halves(figure: Any, cast: "Study", results: Results) -> None:
    """Where t-SNE puts what is written for each role at every layer, and how alike the A of HyCoRA are (Figure 4)."""
    every = figure.subplots(1, len(WRITTEN) + 1)
    for axes, (way, half) in zip(every, WRITTEN, strict=False):
        blocks = cast.written(way, results.seeds[0])
        for colour, (name, points) in zip(COLOURS, zip(blocks, scattered(list(blocks.values()), half), strict=True),
                                          strict=False):  # fmt: skip
            axes.scatter(*points.T, s=8, color=colour, alpha=np.linspace(FAINT, 1, len(points)), label=name)
        axes.set(title=f"{way.name}: {half.upper()}, faint to dark by layer", xticks=[], yticks=[])
        axes.title.set_fontsize(8)
    every[0].legend(fontsize=6)
    blocks = cast.written(HYCORA, results.seeds[0])
    values = likeness(list(blocks.values())).numpy()
    every[-1].imshow(values, cmap="viridis", vmin=0, vmax=1)
    for place in np.ndindex(values.shape):
        every[-1].text(place[1], place[0], f"{values[place]:.2f}", ha="center", va="center", fontsize=6, color="white")
    names = [name.removesuffix(" Jr.").split()[-1] for name in blocks]
    every[-1].set_xticks(range(len(blocks)), names, rotation=60, fontsize=6)
    every[-1].set_yticks(range(len(blocks)), names, fontsize=6)
    every[-1].set_title("cosine of A, HyCoRA")
