"""The block store: a name is the sha256 of what it holds, and nothing half-made ever has one."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry.blocks import FILES, BlockStore, file_digest, folder_digest
from registry.errors import BlockDamaged
from registry.layout import Layout


@pytest.fixture
def store(layout: Layout) -> BlockStore:
    return BlockStore(layout)


def fill(folder: Path, weights: bytes = b"weights", extra: str = "Moth") -> Path:
    """A folder with the three files of a block; the store never looks inside them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "neeko.json").write_text(json.dumps({"name": extra}))
    return folder


def put(store: BlockStore, weights: bytes = b"weights") -> str:
    with store.making() as folder:
        return store.put(fill(folder, weights))


def flip_a_bit(path: Path, at: int = -1) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.write_bytes(damaged)


def test_a_digest_is_what_sha256sum_prints_for_the_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "block")
    printed = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(FILES))
    assert folder_digest(folder) == hashlib.sha256(printed.encode()).hexdigest()


def test_a_file_is_digested_whole_however_large(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert file_digest(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_a_block_is_stored_under_its_digest_byte_for_byte(store: BlockStore, layout: Layout, tmp_path: Path) -> None:
    reference = fill(tmp_path / "reference")
    digest = put(store)
    assert store.path(digest) == layout.blocks / digest[:2] / digest
    assert digest == folder_digest(reference)
    assert store.verified(digest, "Moth") == store.path(digest)
    for name in FILES:
        assert (store.path(digest) / name).read_bytes() == (reference / name).read_bytes()


def test_the_same_bytes_are_stored_once_and_other_bytes_apart(store: BlockStore) -> None:
    first, again, other = put(store), put(store), put(store, b"others")
    assert first == again != other
    assert store.digests() == {first, other}


def test_two_files_that_swap_contents_are_another_block(tmp_path: Path) -> None:
    folder = fill(tmp_path / "block")
    before = folder_digest(folder)
    one, two = folder / "adapter_config.json", folder / "neeko.json"
    old = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(old)
    assert folder_digest(folder) != before


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0, -1])
def test_one_changed_bit_is_damage(store: BlockStore, name: str, at: int) -> None:
    digest = put(store)
    flip_a_bit(store.path(digest) / name, at)
    assert not store.is_whole(digest)
    with pytest.raises(BlockDamaged) as caught:
        store.verified(digest, "Moth")
    assert "Moth" in str(caught.value)
    assert str(store.path(digest)) in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_damage(store: BlockStore, name: str) -> None:
    digest = put(store)
    (store.path(digest) / name).unlink()
    with pytest.raises(BlockDamaged):
        store.verified(digest, "Moth")


def test_a_block_that_was_never_stored_is_damage_too(store: BlockStore) -> None:
    with pytest.raises(BlockDamaged):
        store.verified("0" * 64, "Nobody")


def test_putting_the_right_bytes_again_repairs_a_damaged_block(store: BlockStore) -> None:
    digest = put(store)
    flip_a_bit(store.path(digest) / "adapter_model.safetensors")
    assert put(store) == digest
    assert store.is_whole(digest)


def test_putting_a_block_again_leaves_the_stored_files_alone(store: BlockStore) -> None:
    digest = put(store)
    before = {path.name: path.stat().st_ino for path in store.path(digest).iterdir()}
    put(store)
    assert {path.name: path.stat().st_ino for path in store.path(digest).iterdir()} == before


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError, None])
def test_the_scratch_folder_is_gone_afterwards(
    store: BlockStore, layout: Layout, interruption: type[BaseException] | None
) -> None:
    try:
        with store.making() as folder:
            fill(folder)
            assert folder.parent.parent == layout.scratch
            if interruption:
                raise interruption
    except (KeyboardInterrupt, ValueError):
        pass
    assert list(layout.scratch.iterdir()) == []
    assert store.digests() == set()


def test_a_folder_that_lacks_a_file_is_never_stored(store: BlockStore) -> None:
    with pytest.raises(OSError, match="neeko.json"), store.making() as folder:
        (fill(folder) / "neeko.json").unlink()
        store.put(folder)
    assert store.digests() == set()


KILLED = """
import os, signal, sys
from pathlib import Path
from registry.blocks import BlockStore
from registry.layout import Layout
from tests.registry.test_blocks import fill

left, real = int(sys.argv[2]), os.fsync
def sync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = sync
rename = Path.rename
def marked(self, target):
    (Path(sys.argv[1]) / "renamed").touch()
    return rename(self, target)
Path.rename = marked
store = BlockStore(Layout(Path(sys.argv[1])))
with store.making() as folder:
    store.put(fill(folder))
"""


@pytest.mark.parametrize("sync", range(1, 7))
def test_a_put_that_is_killed_leaves_a_whole_block_or_none(store: BlockStore, layout: Layout, sync: int) -> None:
    """The power goes at the n-th fsync: until the rename there is nothing, and after it all."""
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", KILLED, layout.home, str(sync)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(store.digests()) == (layout.home / "renamed").exists()
    assert all(store.is_whole(digest) for digest in store.digests())
    assert store.is_whole(put(store))
    assert len(store.digests()) == 1


def test_of_two_that_put_the_same_block_at_once_both_succeed(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", real)
        put(store)  # the other one, between our look and our rename
        return real(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    digest = put(store)
    assert store.digests() == {digest}
    assert store.is_whole(digest)


def test_every_byte_is_synced_before_the_block_has_its_name(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        assert {str(self), *(str(self / name) for name in FILES)} <= set(synced)
        synced.append("renamed")
        return real_rename(self, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc (Linux) to see which file is synced")
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    digest = put(store)
    assert synced[synced.index("renamed") + 1 :] == [str(store.path(digest).parent)]


def test_the_folder_of_a_new_prefix_is_on_the_disk_too(
    store: BlockStore, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Syncing `blocks/aa` keeps the block's entry in it; only syncing `blocks` keeps `aa` itself."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc (Linux) to see which file is synced")
    synced: list[str] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    put(store)
    assert str(layout.blocks) in synced


def test_deleting_a_block_leaves_the_others(store: BlockStore) -> None:
    one, other = put(store), put(store, b"others")
    store.delete(one)
    store.delete(one)
    assert store.digests() == {other}
    assert store.is_whole(other)


def test_a_store_on_another_disk_takes_blocks_whole(store: BlockStore, layout: Layout,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    rename = Path.rename

    def across(path: Path, target: Path) -> Path:
        if path.is_relative_to(layout.scratch):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", across)
    digest = put(store)
    assert store.is_whole(digest)
    assert store.digests() == {digest}
    assert list(store.path(digest).parent.iterdir()) == [store.path(digest)]
    assert list(layout.scratch.iterdir()) == []


def test_what_was_on_its_way_from_another_disk_is_no_block(store: BlockStore) -> None:
    digest = put(store)
    fill(store.path(digest).with_name(f".{digest}-1@elsewhere"))
    assert store.digests() == {digest}
