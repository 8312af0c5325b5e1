"""The pico models of the tests, for benchmarks that start whole processes."""

from pathlib import Path

from tests.picos import save_encoder, save_llama, write_profile


def pico_models(root: Path) -> tuple[Path, Path]:
    """(base, encoder) folders."""
    return save_llama(root / "llama"), save_encoder(root)


def pico_profile(root: Path, name: str) -> str:
    return str(write_profile(root / "profiles", name))
