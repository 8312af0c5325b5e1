"""Fusion against PEFT's merge of the same adapters; the whole command; and how long neighbours take to find."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from registry.layout import HOME_VARIABLE, Layout
from registry.neighbours import nearest
from registry.store import Registry
from tests.bench.figure import BENCH_HOME, Figure, bench_layout, embedded_base, in_turn, interleaved, wall
from tests.bench.population import bank, crowd

RANK, WEIGHTS = 16, (0.5, 0.3, 0.2)
LARGE = (4096, 11008)  # one projection of a model of seven billion parameters
FOUNDERS, NEWCOMER = ("beethoven", "cleopatra", "lovelace"), "holmes"
FEW = 8  # exchanges of a newcomer who is fused: with many one would rather train
CROWD, WIDTH = 10_000, 384
ENCODER = "minilm-l6"
ENCODE_ONE = """
import sys, torch
from sentence_transformers import SentenceTransformer
SentenceTransformer(sys.argv[1], device="cpu", local_files_only=True).encode(["One text, of ordinary length."])
"""


def measure() -> list[Figure]:
    return [*_embedded(), *_large(), *_command(), _neighbours()]


# merging


def _embedded() -> list[Figure]:
    """Three blocks of rank 16 on all projections of the embedded base."""
    base = embedded_base()
    shapes = base.shapes
    parts = _parts(shapes)
    found: dict[str, Any] = {}
    with _as_adapters(base.model, [part.block for part in parts]) as merged_by_peft:
        seconds = interleaved(
            1, ours=lambda: found.update(ours=_merged(parts)), theirs=lambda: found.update(theirs=merged_by_peft())
        )
    ours, theirs = (_residual(parts, found[side]) for side in ("ours", "theirs"))
    peer = (
        f"PEFT's svd ({seconds['theirs']:.1f} s, ours {seconds['ours']:.2f} s; residual {theirs:.6f}, ours {ours:.6f})"
    )
    return [
        Figure("merging 3 blocks, faster than PEFT", seconds["theirs"] / seconds["ours"], 30, "x", peer, at_least=True),
        Figure(
            "the same, residual beside PEFT's",
            abs(ours - theirs),
            1e-5,
            "",
            "distance from the sum, relative to the sum, of both",
        ),
    ]


def _large() -> list[Figure]:
    """One module of 4096 x 11008."""
    import torch

    parts = _parts({"layer.0.down_proj": LARGE})
    model = torch.nn.ModuleDict({"layer": torch.nn.ModuleList([torch.nn.ModuleDict({"down_proj": _linear(LARGE)})])})
    with _as_adapters(model, [part.block for part in parts], full_matrices=False) as merged_by_peft:
        started = time.perf_counter()
        merged_by_peft()
        theirs = time.perf_counter() - started
    ours = statistics.median(_timed(lambda: _merged(parts)) for _ in range(9))
    largest = largest_tensor(lambda: _merged(parts)) / (LARGE[0] * LARGE[1])
    peer = f"PEFT's svd without full matrices ({theirs:.1f} s, ours {ours * 1e3:.1f} ms)"
    return [
        Figure("one module of 4096 x 11008, faster than PEFT", theirs / ours, 300, "x", peer, at_least=True),
        Figure("the largest tensor on the way", largest, 0.1, "of delta_W", "every tensor that any operation returned"),
    ]


def _parts(shapes: dict[str, tuple[int, int]]) -> list[Any]:
    import torch

    from recipes.block import Block, Pair, fresh_block
    from recipes.merging import Part

    found = []
    for seed, weight in enumerate(WEIGHTS):
        fresh = fresh_block(shapes, RANK, 2.0 * RANK, seed)
        torch.manual_seed(seed)
        pairs = {path: Pair(a, torch.randn_like(b) * 1e-3) for path, (a, b) in fresh.pairs.items()}
        found.append(Part(Block(pairs, RANK, fresh.alpha), weight))
    return found


def _merged(parts: list[Any]) -> Any:
    from recipes.merging import merge
    from recipes.recipe import Merging

    return merge(parts, Merging(), RANK).block


def _residual(parts: list[Any], block: Any) -> float:
    """||sum_i w_i delta_W_i - delta_W|| / ||sum_i w_i delta_W_i|| over all modules."""
    from recipes.merging import Term, missed

    energies = [
        missed([Term(*part.block.pairs[path], part.weight, part.block.scale) for part in parts], pair, block.scale)
        for path, pair in block.pairs.items()
    ]
    gone, whole = (sum(each[side] for each in energies) for side in (0, 1))
    return float((gone / whole) ** 0.5)


def _linear(shape: tuple[int, int]) -> Any:
    import torch

    with torch.device("meta"):
        layer = torch.nn.Linear(shape[1], shape[0], bias=False)
    return layer.to_empty(device="cpu")


class _as_adapters:  # noqa: N801  used as a context
    """The blocks as PEFT's adapters on a model; yields a function that merges them by svd and reads the result."""

    def __init__(self, model: Any, blocks: list[Any], *, full_matrices: bool = True) -> None:
        from peft import LoraConfig, get_peft_model

        leaves = sorted({path.rpartition(".")[2] for path in blocks[0].pairs})
        config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=leaves)
        self.blocks, self.full_matrices = blocks, full_matrices
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model: Any = get_peft_model(model, config, adapter_name="0")
            for place in range(1, len(blocks)):
                self.model.add_adapter(str(place), config)
        for place, block in enumerate(blocks):
            for path, pair in block.pairs.items():
                layer = self._layer(path)
                layer.lora_A[str(place)].weight.data.copy_(pair.a)
                layer.lora_B[str(place)].weight.data.copy_(pair.b)
        self.rounds = 0

    def _layer(self, path: str) -> Any:
        return self.model.base_model.model.get_submodule(path)

    def __enter__(self) -> Callable[[], Any]:
        return self._merge

    def __exit__(self, *_: object) -> None:
        self.model = None

    def _merge(self) -> Any:
        from recipes.block import Block, Pair

        self.rounds += 1
        name = f"merged{self.rounds}"  # into a name that exists PEFT merges nothing, without a word
        adapters = [str(place) for place in range(len(self.blocks))]
        self.model.add_weighted_adapter(adapters, list(WEIGHTS), name, combination_type="svd",
                                        svd_full_matrices=self.full_matrices)  # fmt: skip
        pairs = {path: Pair(self._layer(path).lora_A[name].weight.data, self._layer(path).lora_B[name].weight.data)
                 for path in self.blocks[0].pairs}  # fmt: skip
        return Block(pairs, RANK, float(RANK))


def largest_tensor(run: Callable[[], Any]) -> int:
    """Elements of the largest tensor that any operation returned."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for each in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(each, torch.Tensor):
                    self.seen = max(self.seen, each.numel())
            return out

    with Watch() as watch:
        run()
    return watch.seen


def _timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


# the whole command


def _command() -> list[Figure]:
    """`add-character --strategy fuse` beside three residents, against importing torch and encoding one text."""
    from recipes.sources import local_folder

    encoder = local_folder(bench_layout(), ENCODER)
    home = _settled()
    environment = {**os.environ, HOME_VARIABLE: str(home.home)}
    with tempfile.TemporaryDirectory() as folder:
        few, whole = _newcomer(Path(folder), FEW), _newcomer(Path(folder) / "whole", None)
        least = [sys.executable, "-c", ENCODE_ONE, str(encoder)]
        ours, one_text = in_turn(lambda: _fused(home, few, environment), lambda: wall(least), 5)
        long, again = in_turn(lambda: _fused(home, whole, environment), lambda: wall(least), 3)
    peer = "importing torch and encoding one text by sentence-transformers"
    return [
        Figure(
            f"add-character --strategy fuse, {FEW} exchanges", ours / one_text, 2.0, "x", f"{peer} ({one_text:.1f} s)"
        ),
        Figure("the same with all its exchanges, 12 probes", long / again, 2.0, "x", f"{peer} ({again:.1f} s)"),
    ]


def _settled() -> Layout:
    """A home with three residents, made once."""
    layout = Layout(BENCH_HOME / "homes" / "fusion")
    if not layout.models.exists():
        layout.home.mkdir(parents=True, exist_ok=True)
        layout.models.symlink_to(bench_layout().models.absolute())
    there = {row.name for row in Registry(layout).residents()}
    for slug in FOUNDERS if len(there) < len(FOUNDERS) else ():
        profile = str(resources.files("recipes") / "characters" / f"{slug}.yaml")
        command = ["add-character", profile, "--preset", "quick", "--set", "epochs=1"]
        subprocess.run([sys.executable, "-m", "neekoctl", *command], check=False, stdout=subprocess.DEVNULL,
                       env={**os.environ, HOME_VARIABLE: str(layout.home)})  # fmt: skip
    return layout


def _newcomer(folder: Path, exchanges: int | None) -> Path:
    """A starter character who brings so many of its exchanges."""
    source = resources.files("recipes") / "characters"
    folder.mkdir(parents=True, exist_ok=True)
    lines = (source / f"{NEWCOMER}.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / f"{NEWCOMER}.jsonl").write_text("\n".join(lines[:exchanges]), encoding="utf-8")
    profile = folder / f"{NEWCOMER}.yaml"
    profile.write_text((source / f"{NEWCOMER}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return profile


def _fused(home: Layout, profile: Path, environment: dict[str, str]) -> float:
    """Seconds of the command; the newcomer leaves again afterwards."""
    command = [sys.executable, "-m", "neekoctl", "add-character", str(profile), "--strategy", "fuse", "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
    seconds = time.perf_counter() - started
    registry = Registry(home)
    registry.remove(registry.resident(json.loads(done.stdout)["character"]))
    return seconds


# neighbours


def _neighbours() -> Figure:
    """The three nearest of ten thousand, from the database's file to their names."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Layout(Path(folder)))
        crowd(registry, CROWD, WIDTH, ENCODER)
        row, (query,) = bank(registry), np.random.default_rng(1).standard_normal((1, WIDTH)).astype(np.float32)
        query /= np.linalg.norm(query)
        first = _timed(lambda: nearest(registry, row, ENCODER, query, 3))
        seconds = statistics.median(_timed(lambda: nearest(registry, row, ENCODER, query, 3)) for _ in range(15))
        shutil.rmtree(registry.layout.home / "roles")
    return Figure(
        "3 neighbours among 10,000 residents", seconds * 1e3, 20, "ms", f"{first * 1e3:.0f} ms the first time"
    )
