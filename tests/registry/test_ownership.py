"""Nobody ever lives here without a block, whoever prunes, fails or is interrupted meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import Session

from registry.arriving import load
from registry.errors import NameTaken
from registry.revisions import roll_back
from registry.store import Registry
from tests.registry.bundles import another, contents, move_in, saved, village


def before(monkeypatch: pytest.MonkeyPatch, method: str, event: Callable[[], object]) -> None:
    """What another process does just before the registry's method is called the next time."""
    real = getattr(Registry, method)

    def late(*arguments: object, **options: object) -> object:
        monkeypatch.setattr(Registry, method, real)
        event()
        return real(*arguments, **options)

    monkeypatch.setattr(Registry, method, late)


def other_process(registry: Registry) -> Registry:
    return Registry(registry.layout)


def all_whole(registry: Registry) -> bool:
    return all(registry.blocks.is_whole(row.block or "") for row in registry.residents())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    origin = another(tmp_path)
    village(origin)
    return saved(origin, tmp_path / "village.neeko")


def test_what_lay_there_as_nobodys_may_be_pruned_while_a_bundle_is_loaded(
    registry: Registry, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(registry, bundle)
    for row in registry.characters():
        registry.remove(row)
    before(monkeypatch, "writing", lambda: other_process(registry).prune())
    load(registry, bundle)
    assert [row.name for row in registry.characters()] == ["Ant", "Cub"]
    assert all_whole(registry)


@pytest.mark.parametrize("deleting", ["prune", "discard"])
def test_who_deletes_asks_for_the_owners_under_the_lock(
    registry: Registry, bundle: Path, monkeypatch: pytest.MonkeyPatch, deleting: str
) -> None:
    move_in(registry, "Dot")
    before(monkeypatch, "writing", lambda: load(other_process(registry), bundle))
    everything = registry.blocks.digests()
    registry.prune() if deleting == "prune" else registry.discard(everything)
    assert len(registry.characters()) == 3
    assert all_whole(registry)


def test_pruning_against_a_rollback(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.remove(move_in(registry, "Ant"))
    before(monkeypatch, "writing", lambda: roll_back(other_process(registry), 1))
    assert registry.prune() == []
    assert registry.find("Ant").status == "ready"
    assert all_whole(registry)


def test_a_loading_that_fails_leaves_what_another_one_has_loaded(
    registry: Registry, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_in(registry, "Dot", "Bee")  # who is in the way of the second bundle alone
    origin = another(tmp_path)
    move_in(origin, "Bee", rank=2)
    both = saved(origin, tmp_path / "both.neeko", only=["Ant", "Bee"])
    before(monkeypatch, "discard", lambda: load(other_process(registry), bundle))
    with pytest.raises(NameTaken):
        load(registry, both)
    assert {row.name for row in registry.characters()} == {"Dot", "Ant", "Cub"}
    assert all_whole(registry)


def test_a_block_that_is_released_may_be_claimed_at_that_moment(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    block, bank = move_in(another(registry.layout.home), "Ant").block or "", registry.bank("base", "1")
    first, second = (registry.reserve(bank, name, [], 8, "expand") for name in ("Ant", "Bee"))
    registry.blocks.path(block).mkdir(parents=True)
    registry.claim(first, block)
    before(monkeypatch, "discard", lambda: other_process(registry).claim(second, block))
    registry.release(first)
    assert registry.blocks.digests() == {block}


def test_an_interrupt_after_the_commit_takes_nothing_back(
    registry: Registry, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Registry.writing

    @contextmanager
    def interrupted(self: Registry) -> Iterator[Session]:
        monkeypatch.setattr(Registry, "writing", real)
        with real(self) as session:
            yield session
        raise KeyboardInterrupt

    monkeypatch.setattr(Registry, "writing", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(registry, bundle)
    monkeypatch.undo()
    whole = another(bundle.parent / "again")
    load(whole, bundle)
    assert contents(registry) == contents(whole)
    assert all_whole(registry)
