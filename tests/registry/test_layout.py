"""Where things lie: the home that was asked for, everything under it, and no folder made by asking."""

import dataclasses
from pathlib import Path

import platformdirs
import pytest

from registry.errors import UsageError
from registry.layout import HOME_VARIABLE, Layout

PLACES = [name for name, value in vars(Layout).items() if isinstance(value, property)]


@pytest.mark.parametrize("place", PLACES)
def test_every_place_lies_directly_under_the_home(place: str, home: Path) -> None:
    assert getattr(Layout(home), place).parent == home


def test_no_two_places_are_the_same(layout: Layout) -> None:
    assert len(PLACES) >= 5
    assert len({getattr(layout, place) for place in PLACES}) == len(PLACES)


def test_asking_for_places_makes_nothing(home: Path) -> None:
    layout = Layout.default()
    assert layout.database == home / "registry.db"
    assert not home.exists()


def test_the_variable_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(HOME_VARIABLE, "~/characters")
    assert Layout.default().home == tmp_path / "characters"


def test_a_relative_home_stays_where_it_was_when_the_process_moves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, "here")
    layout = Layout.default()
    monkeypatch.chdir("/")
    assert layout.home == tmp_path / "here"
    assert layout.home.is_absolute()


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_it_is_the_users_data_folder(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv(HOME_VARIABLE)
    else:
        monkeypatch.setenv(HOME_VARIABLE, value)
    assert Layout.default().home == Path(platformdirs.user_data_dir("neekoctl", appauthor=False))


def test_a_layout_cannot_be_pointed_elsewhere_later(layout: Layout) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.home = Path("/elsewhere")  # type: ignore[misc]


def test_a_tilde_of_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, "~nobody-of-this-name/characters")
    with pytest.raises(UsageError, match="nobody of that name has a home here"):
        Layout.default()
