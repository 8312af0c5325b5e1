"""Keeps freed memory within the process, for whoever asks for as much again. Knows nothing of tensors."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
NEVER, LARGEST = -1, 2**31 - 1
LARGEST_BEFORE_2_35 = 2**25  # bytes: what an older glibc takes; larger pieces still come from the kernel there


def keep_freed_memory() -> None:
    """Have malloc keep what is freed, large pieces too.

    By default glibc gives large pieces back at once, and every step of a training gets them anew from the kernel, page
    by page and zeroed: a fifth of its time on a CPU. Where malloc is not glibc's, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and (mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_THRESHOLD, LARGEST_BEFORE_2_35)):
        mallopt(TRIM_THRESHOLD, NEVER)
