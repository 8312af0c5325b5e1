"""What was freed is there again without the kernel."""

import ctypes
import subprocess
import sys

import pytest

PAGES = 16384  # of 4 KiB: 64 MiB
FAULTS = """
import resource
from recipes.memory import keep_freed_memory
{before}
for _ in range(4):
    bytearray({size})
start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray({size})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""
IS_GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")


def _faults(before: str) -> int:
    """Pages that the kernel hands out for a large piece such as was freed just before."""
    script = FAULTS.format(before=before, size=PAGES * 4096)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not IS_GLIBC, reason="there is no mallopt here; runs on Linux with glibc")
def test_freed_memory_is_used_again_without_the_kernel() -> None:
    assert _faults("keep_freed_memory()") * 100 < _faults("")
