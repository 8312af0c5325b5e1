"""A copy that saves time is there whole, or not at all, and nobody is told."""

from pathlib import Path

from registry.caches import keep


def _break_off(made: Path) -> None:
    made.write_text("half")
    raise RuntimeError("no space left")


def test_what_is_written_whole_takes_the_place_of_what_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "copy"
    for text in ("old", "new"):
        keep(path, lambda made, text=text: made.write_text(text))  # type: ignore[misc]
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_what_breaks_off_leaves_the_old_copy_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_text("old")
    keep(path, _break_off)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])


def test_where_nothing_can_be_written_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    keep(tmp_path / "file" / "copy", lambda made: made.write_text("x"))
    assert (tmp_path / "file").read_text() == "in the way"
