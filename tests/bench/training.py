"""Training speed against PEFT with transformers' Trainer, and what training brings to each starter character."""

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from recipes.exchanges import PromptForm, Row, with_system
from recipes.recipe import load_recipe
from registry.heldout import split
from registry.layout import Layout
from registry.profile import load_profile
from tests.bench.figure import BENCH_HOME, Figure, embedded_base, in_turn

CHARACTERS = Path(__file__).parents[2] / "recipes" / "characters"
RUNS = 3


def measure() -> list[Figure]:
    return [_speed(), *_perplexities()]


def _rows(slug: str, form: PromptForm) -> list[Row]:
    profile = load_profile(CHARACTERS / f"{slug}.yaml")
    talks = split(profile.dialogues).train
    return [form.row(with_system(f"You are {profile.name}.", talk.model_dump()["messages"])) for talk in talks]


def _speed() -> Figure:
    """One epoch over one character, real tokens a second; both sides see the same rows, rank and batch."""
    from recipes.bank import Bank

    ours, theirs = embedded_base(), embedded_base()
    rows = _rows("beethoven", PromptForm(ours.tokenizer))
    tokens = sum(len(row.tokens) for row in rows)
    recipe = load_recipe("quick", ["epochs=1"])
    bank, peer = Bank(ours), _peft(theirs.model, recipe)
    mine, other = in_turn(lambda: _train(bank, rows, recipe), lambda: _trainer(peer, rows, recipe), RUNS)
    peer_speed = f"PEFT with Trainer ({tokens / other:.0f} tokens/s; ours {tokens / mine:.0f})"
    return Figure("training tokens/s", other / mine, 1.3, "x", peer_speed, at_least=True)


def _train(bank: Any, rows: list[Row], recipe: Any) -> float:
    from recipes.block import fresh_block
    from recipes.training import train

    block = fresh_block(bank.base.shapes, recipe.rank, recipe.alpha, seed=0)
    started = time.perf_counter()
    train(bank, block, rows, [], recipe, seed=0)
    return time.perf_counter() - started


def _peft(model: Any, recipe: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def _trainer(model: Any, rows: list[Row], recipe: Any) -> float:
    """An epoch as most people train: Trainer, a padding collator, loss on the replies."""
    from transformers import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=recipe.batch, learning_rate=recipe.learning_rate,
            logging_strategy="no", save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        data = [{"input_ids": row.tokens, "labels": _labels(row)} for row in rows]
        trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=_collate)
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started


def _labels(row: Row) -> list[int]:
    return [token if scored else -100 for token, scored in zip(row.tokens, row.scored, strict=True)]


def _collate(items: list[dict[str, list[int]]]) -> dict[str, Any]:
    import torch

    width = max(len(item["input_ids"]) for item in items)
    padded = {"input_ids": 0, "labels": -100, "attention_mask": 0}
    full = [{**item, "attention_mask": [1] * len(item["input_ids"])} for item in items]
    return {key: torch.tensor([item[key] + [pad] * (width - len(item[key])) for item in full])
            for key, pad in padded.items()}  # fmt: skip


def _perplexities() -> list[Figure]:
    """Every starter through the whole command's function, with the preset people get."""
    from neekoctl.onboarding import onboard
    from neekoctl.request import Request
    from recipes.scores import perplexity
    from registry.store import Registry

    class Silent:
        def say(self, text: str) -> None: ...

        def progress(self, progress: Any) -> None: ...

    figures = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to(BENCH_HOME / "models", target_is_directory=True)
        registry = Registry(Layout(Path(folder)))
        for profile in sorted(CHARACTERS.glob("*.yaml")):
            done = onboard(registry, Request(profile), Silent())
            before, after = perplexity(done["heldout_nll_before"]), perplexity(done["heldout_nll_after"])
            peer = f"the bare base, same prompt ({before:.1f} -> {after:.1f})"
            figures.append(Figure(f"held-out perplexity, {done['character']}", after / before, 0.65, "x", peer))
    return figures
