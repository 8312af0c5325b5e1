"""A full check of twenty residents against the same done one by one through PEFT, and its peak memory.

The residents were never trained (random blocks), their probes are the starter characters' own exchanges. PEFT's side
does all that the check's model work is: every block's digest, the likelihood of every reference under the own block and
under the nearest's, and the first tokens of every greedy reply; a character's eight probes are one batch there.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from registry.layout import HOME_VARIABLE, Layout
from registry.store import Onboarded, Registry
from registry.tables import Bank, Character, Probe, Prototype
from tests.bench.figure import Figure, bench_layout, embedded_base, in_turn

RESIDENTS, PROBES, RANK, RIVALS, RUNS = 20, 8, 8, 1, 2
FASTER, MEMORY = 2.0, 1.2
STARTERS = ("beethoven", "cleopatra", "holmes", "lovelace")
TELL_PEAK = """
import atexit, sys
def tell():
    with open("/proc/self/status") as status:
        print(next(line for line in status if line.startswith("VmHWM")).split()[1], file=sys.stderr)
atexit.register(tell)
"""
CHECK = """
import runpy, sys
sys.argv = ["neekoctl", "check", "--json"]
runpy.run_module("neekoctl", run_name="__main__")
"""
JUST_THE_BASE = """
from pathlib import Path
from recipes.base_model import load_base
from recipes.exchanges import PromptForm
from recipes.likelihood import score
base = load_base(Path(sys.argv[1]), name="base", fingerprint="0")
form = PromptForm(base.tokenizer)
talk = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Somebody."}]
score(base, [form.row(talk, last_only=True)])
"""


def measure() -> list[Figure]:
    from recipes.sources import DEFAULT_BASE, local_folder

    with tempfile.TemporaryDirectory() as folder:
        registry = _inhabited(Layout(Path(folder)))
        ours, theirs = in_turn(lambda: _checked(registry), lambda: _one_by_one(registry), RUNS)
        base = local_folder(bench_layout(), DEFAULT_BASE)
        peak, bare = _peak(CHECK, home=folder), _peak(JUST_THE_BASE, str(base), home=folder)
    peer = f"one by one through PEFT ({theirs:.0f} s, ours {ours:.0f} s), both with loading the base"
    size = f"loading the base and reading one exchange ({bare / 2**10:.0f} MiB, ours {peak / 2**10:.0f} MiB)"
    return [
        Figure(f"a full check of {RESIDENTS} characters with {PROBES} probes, faster than PEFT", theirs / ours, FASTER,
               "x", peer, at_least=True),
        Figure("the same, peak memory", peak / bare, MEMORY, "x", size),
    ]  # fmt: skip


def _peak(script: str, *arguments: str, home: str) -> int:
    """The largest resident size of a process, in KiB. Told by itself: what `wait` reports begins with its parent's."""
    command, environment = [sys.executable, "-c", TELL_PEAK + script, *arguments], {**os.environ, HOME_VARIABLE: home}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1])


# the residents


def _inhabited(layout: Layout) -> Registry:
    """Twenty ready characters over the embedded base, with their baselines."""
    from neekoctl.stage import choose_bank, set_stage
    from recipes.sources import DEFAULT_BASE, DEFAULT_ENCODER, fingerprint, local_folder

    layout.models.symlink_to(bench_layout().models.absolute())
    registry = Registry(layout)
    row = choose_bank(registry, DEFAULT_BASE, say=print)
    row = registry.bank(row.base, row.fingerprint)
    stage = set_stage(registry, row, say=lambda _: None)
    encoder = f"{DEFAULT_ENCODER}@{fingerprint(layout, local_folder(layout, DEFAULT_ENCODER))}"
    for place, talks in enumerate(_talks()):
        _settle(stage, row, place, talks, encoder)
    return registry


def _talks() -> list[list[tuple[str, str]]]:
    """Eight exchanges of the starters for each resident."""
    import json

    source = resources.files("recipes") / "characters"
    lines = [line for slug in STARTERS for line in (source / f"{slug}.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [tuple(turn["content"] for turn in json.loads(line)["messages"][:2]) for line in lines]
    return [[pairs[(place * PROBES + each) % len(pairs)] for each in range(PROBES)] for place in range(RESIDENTS)]


def _settle(stage: Any, row: Bank, place: int, talks: list[tuple[str, str]], encoder: str) -> None:
    from neekoctl.measuring import environment, heldout_messages, measure
    from recipes.block import save_block
    from tests.bench.bank import _block

    registry, name = stage.registry, f"Resident {place}"
    system = f"You are {name}."
    held = registry.reserve(row, name, [], RANK, "expand")
    with registry.blocks.making() as folder:
        save_block(_block(stage.base, place), folder, base=row.base, card={"name": name})
        digest = registry.blocks.put(folder)
    heldout = [heldout_messages(system, [{"role": "user", "content": asked}], said) for asked, said in talks]
    measured = measure(stage, stage.mount(held.ranks, digest, name), heldout)
    probes = [_probe(number, *pair, each) for number, (pair, each) in enumerate(zip(talks, measured, strict=True))]
    registry.commit(held, Onboarded(
        digest, {"name": name}, {"rank": RANK, "alpha": 4.0 * RANK}, {}, environment(stage, heldout), {}, system, 0,
        "",
        _vector(place), encoder, probes,
        prototypes=[Prototype(character_id=0, kind="persona", text=name, vector=_vector(place))],
    ))  # fmt: skip


def _probe(number: int, asked: str, said: str, measured: Any) -> Probe:
    return Probe(character_id=0, position=number, prompt=[{"role": "user", "content": asked}], reference=said,
                 nll=measured.score.nll, tokens=measured.score.tokens, reply=measured.reply, reply_text=measured.text,
                 routed="unknown", vector=_vector(1000 + number))  # fmt: skip


def _vector(seed: int) -> bytes:
    found = np.random.default_rng(seed).standard_normal(384)
    return bytes((found / np.linalg.norm(found)).astype("<f4").tobytes())


# both sides


def _checked(registry: Registry) -> float:
    from neekoctl.checks.checking import check
    from neekoctl.checks.scope import Scope
    from neekoctl.checks.tolerances import Tolerances

    started = time.perf_counter()
    document = check(registry, Scope(), Tolerances(), say=lambda _: None, report=lambda _: None)
    seconds = time.perf_counter() - started
    assert all(row["replies_identical"] == PROBES and row["forgetting"] == 0 for row in document["characters"])
    return seconds


def _one_by_one(registry: Registry) -> float:
    """What somebody with PEFT would write: one adapter after the other, its probes as a batch."""
    import torch
    from peft import PeftModel

    started = time.perf_counter()
    base, rows = embedded_base(), registry.residents()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        model: Any = None
        for place, row in enumerate(rows):
            near = [rows[(place + step) % len(rows)] for step in range(RIVALS + 1)]
            for each in near:
                folder = str(registry.blocks.verified(each.block or "", each.name))
                model = model or PeftModel.from_pretrained(base.model, folder, adapter_name=each.name)
                if each.name not in model.peft_config:
                    model.load_adapter(folder, adapter_name=each.name)
            _by_peft(model.eval(), base.tokenizer, registry, row, [each.name for each in near])
    return time.perf_counter() - started


def _by_peft(model: Any, tokenizer: Any, registry: Registry, row: Character, adapters: list[str]) -> None:
    from neekoctl.measuring import REPLY_TOKENS, heldout_messages

    probes = registry.probes(row)
    talks = [heldout_messages(row.system_message, probe.prompt, probe.reference) for probe in probes]
    for adapter in adapters:
        model.set_adapter(adapter)
        _nlls(model, tokenizer, talks)
    model.set_adapter(adapters[0])
    prompts = [tokenizer.apply_chat_template(talk[:-1], tokenize=False, add_generation_prompt=True) for talk in talks]
    asked = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    model.generate(**asked, do_sample=False, max_new_tokens=REPLY_TOKENS, pad_token_id=0)


def _nlls(model: Any, tokenizer: Any, talks: list[Any]) -> Any:
    """The loss of every reference's tokens, from a padded batch's logits."""
    import torch

    whole = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in talks]
    before = [tokenizer.apply_chat_template(talk[:-1], tokenize=False, add_generation_prompt=True) for talk in talks]
    read = tokenizer(whole, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    skipped = torch.tensor([[len(tokenizer(text, add_special_tokens=False)["input_ids"])] for text in before])
    logits = model(**read, use_cache=False).logits[:, :-1]
    targets = read["input_ids"][:, 1:]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    places = torch.arange(1, targets.shape[1] + 1)[None]
    return (losses * ((places >= skipped) & (read["attention_mask"][:, 1:] > 0))).sum(1)
