"""How long a route takes, the encoder left out, from ten to a hundred thousand characters; and the memory of it."""

import random
import resource
import time

import numpy as np

from recipes.gate import Gate, Scorer, Settings
from recipes.mentions import Names
from registry.roles import KINDS, Roles
from tests.bench.figure import Figure

SIZES = (10, 100, 1_000, 10_000, 100_000)
WIDTH = 384  # of the default encoder
ROUTES = 400
MOST_MILLISECONDS = 10.0
SYLLABLES = ("ba", "do", "ka", "li", "mo", "na", "pe", "ra", "so", "tu", "vi", "zen", "gor", "mir", "thal", "wyn")
TEXTS = ("What did you do when the river froze?", "Tell me about {}.", "Answer as {}, please.", "{}, do you sing?",
         "How do I sort a list in Python?", "Wait, I mean somebody else entirely, not {}.")  # fmt: skip


def measure() -> list[Figure]:
    figures = []
    for size in SIZES:
        started = time.perf_counter()
        gate, people = _gate(size)
        built = time.perf_counter() - started
        p99 = float(np.percentile(_routes(gate, people), 99)) * 1000
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        peer = f"names and prototypes; opened in {built:.1f} s, {memory:.0f} MiB resident at most"
        figures.append(Figure(f"p99 of a route, {size:,} characters", p99, MOST_MILLISECONDS, "ms", peer))
    return figures


def _gate(size: int) -> tuple[Gate, dict[int, list[str]]]:
    order = random.Random(0)
    people = {owner: [f"{_name(order)} {_name(order)} {owner}"] for owner in range(1, size + 1)}
    vectors = np.random.default_rng(0).standard_normal((size, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kinds = np.full(size, KINDS.index("persona"), dtype=np.int8)
    roles = Roles(np.arange(1, size + 1), kinds, vectors)
    return Gate(Names(people), Scorer(roles, vectors[:100], "prototypes"), Settings()), people


def _name(order: random.Random) -> str:
    return "".join(order.choices(SYLLABLES, k=order.choice((2, 3)))).capitalize()


def _routes(gate: Gate, people: dict[int, list[str]]) -> list[float]:
    """Seconds of every route; the texts name somebody, nobody, or somebody with a slip."""
    order = random.Random(1)
    seconds = []
    for number in range(ROUTES):
        name = people[order.randint(1, len(people))][0]
        text = TEXTS[number % len(TEXTS)].format(name if number % 2 else name.replace("a", "e", 1))
        vector = np.random.default_rng(number).standard_normal((1, WIDTH)).astype(np.float32)
        vector /= np.linalg.norm(vector)
        started = time.perf_counter()
        gate.route([text], lambda _, vector=vector: vector)  # type: ignore[misc]
        seconds.append(time.perf_counter() - started)
    return seconds
