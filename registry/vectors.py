"""How vectors lie in the database: 32-bit floats, little-endian, one by one. Knows nothing of what they mean."""

from collections.abc import Sequence

import numpy as np

STORED = "<f4"


def to_bytes(vector: np.ndarray) -> bytes:
    """(d,) as it is stored."""
    return vector.astype(STORED).tobytes()


def from_bytes(stored: bytes) -> np.ndarray:
    """(d,), not to be written to."""
    return np.frombuffer(stored, dtype=STORED)


def stacked(stored: Sequence[bytes]) -> np.ndarray:
    """(n, d), not to be written to; all of one length."""
    return from_bytes(b"".join(stored)).reshape(len(stored), -1)
