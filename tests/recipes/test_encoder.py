"""The encoder: unit vectors that name the encoder they came from, and no other kind of folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recipes.encoder import Encoder, load_encoder
from registry.errors import BaseError

TEXTS = ["A moth who lives in a lamp.", "Beethoven, a composer.", "dust " * 400]


@pytest.fixture
def encoder(pico_encoder: Path) -> Encoder:
    return load_encoder(pico_encoder, name="pico", fingerprint="abc")


def test_every_text_becomes_a_unit_vector(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((3, 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_vectors_are_those_of_sentence_transformers(encoder: Encoder, pico_encoder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(pico_encoder), device="cpu").encode(TEXTS)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), plain, atol=1e-6)
    assert not np.allclose(plain[0], plain[1], atol=1e-3)


def test_a_text_has_one_vector_whatever_stands_beside_it(encoder: Encoder) -> None:
    np.testing.assert_allclose(encoder.encode(TEXTS)[1], encoder.encode([TEXTS[1]])[0], atol=1e-6)


def test_text_beyond_the_window_is_cut(encoder: Encoder) -> None:
    first = TEXTS[2][:128]  # the pico tokenizer has one token a character, its encoder a window of 128
    cut, whole = encoder.encode([first, TEXTS[2]])
    np.testing.assert_allclose(whole, cut, atol=1e-6)


def test_provenance_names_the_encoder_and_its_weights(encoder: Encoder, pico_encoder: Path) -> None:
    assert encoder.provenance == "pico@abc"
    other = load_encoder(pico_encoder, name="pico", fingerprint="abd")
    assert other.provenance != encoder.provenance


def empty(_pico_encoder: Path, folder: Path) -> None:
    folder.mkdir()


def missing(_pico_encoder: Path, folder: Path) -> None:
    assert not folder.exists()


def of_something_else(_pico_encoder: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "soup"}', encoding="utf-8")


def without_weights(pico_encoder: Path, folder: Path) -> None:
    shutil.copytree(pico_encoder, folder)
    (folder / "model.safetensors").unlink()


def with_truncated_weights(pico_encoder: Path, folder: Path) -> None:
    shutil.copytree(pico_encoder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


@pytest.mark.parametrize("spoil", [empty, missing, of_something_else, without_weights, with_truncated_weights])
def test_a_folder_that_is_no_encoder_is_refused(
    spoil: Callable[[Path, Path], None], pico_encoder: Path, tmp_path: Path
) -> None:
    spoil(pico_encoder, tmp_path / "encoder")
    with pytest.raises(BaseError, match="^spoiled cannot be loaded as a sentence encoder"):
        load_encoder(tmp_path / "encoder", name="spoiled", fingerprint="f")


def test_a_base_is_no_encoder(pico_llama: Path) -> None:
    """A causal LM has no pooling of its own: vectors of an invented one would be compared in earnest."""
    with pytest.raises(BaseError, match="^llama cannot be loaded as a sentence encoder"):
        load_encoder(pico_llama, name="llama", fingerprint="f")


def test_pickled_weights_of_a_module_are_refused(pico_encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(pico_encoder, folder)
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(BaseError, match="2_Dense/pytorch_model.bin, and only safetensors"):
        load_encoder(folder, name="pico", fingerprint="abc")
