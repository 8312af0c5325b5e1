"""Half-made things: where they lie, whose they are, and how they get to their place."""

import errno
import os
from pathlib import Path

import pytest

from registry.layout import Layout
from registry.leases import host_name, owner_tag
from registry.scratch import half_made, is_abandoned, move, scratch

NOBODY = 2**22 + 1  # no process has this number


def test_a_scratch_folder_is_this_processs_and_gone_afterwards(layout: Layout) -> None:
    with scratch(layout, "model") as folder:
        assert half_made(layout) == [folder.parent]
        assert not is_abandoned(folder.parent)
    assert half_made(layout) == []


@pytest.mark.parametrize("name", ["block-{pid}@{host}-x1y2", ".my-own-model-{pid}@{host}-0a1b2c3d"])
def test_what_a_dead_process_left_is_abandoned(name: str, tmp_path: Path) -> None:
    for pid, left in ((NOBODY, True), (os.getpid(), False)):
        path = tmp_path / name.format(pid=pid, host=host_name())
        path.mkdir()
        assert is_abandoned(path) is left


def test_what_was_on_its_way_to_another_disk_is_found(layout: Layout) -> None:
    ways = [layout.blocks / "ab" / f".abcd-{owner_tag()}-01", layout.models / f".my-model-{owner_tag()}-02"]
    for path in [*ways, layout.models / "my-model", layout.models / ".cache"]:
        path.mkdir(parents=True)
    assert half_made(layout) == sorted(ways)


def test_a_move_that_fails_leaves_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def another_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "file").write_text("x")
    monkeypatch.setattr(Path, "rename", another_disk)
    with pytest.raises(OSError, match="cross-device"):
        move(tmp_path / "made", tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
