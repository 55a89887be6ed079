"""How this process deals with memory while it reads a tenant: allocators, and Python's collector.

Both are the process's, not an extraction's: what is set here stays. What is kept in memory, and for
how long, is for those who keep it to say.
"""

import contextlib
import ctypes
import gc
import threading

import pyarrow as pa

# Of <malloc.h>; set, they no longer grow with the largest block ever freed.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 1 << 18
# New containers before those that live are looked through for cycles, of which pages make none.
_SELDOM = 100_000

_STEADY_MS, _AT_ONCE_MS = 1_000, 20

_lock = threading.Lock()
_lean = False


def collect_seldom() -> None:
    """Look for cycles of garbage less often: a tenth of a small sync went into that.

    All objects of the program are walked through each time, Dagster's among them.
    """
    first, *others = gc.get_threshold()
    gc.set_threshold(max(first, _SELDOM), *others)


def allocate_steadily() -> None:
    """Have Arrow keep for a second what it no longer uses, for what it needs next.

    By itself it would give memory back sooner, and a third of what a small sync computes would be
    spent in having pages cleared that it had a moment ago.
    """
    with _lock:
        if not _lean:
            _use_jemalloc(_STEADY_MS)


def hold_little() -> None:
    """Let allocators give back what they do not use. For reading large tables whole.

    Pages of megabytes pass from thread to thread, and allocators keep what each thread ever held.
    Peak at 100,000 users: 790 MB with Arrow on mimalloc; 580 to 680 with jemalloc, whose unused
    memory goes back at once, almost, instead of after a second: 545 to 580; with the C library
    returning large blocks at once as well: 480 to 550. It costs half a second of 14, and would cost
    as much where only changes are read.
    """
    global _lean
    with _lock:
        if _lean:
            return
        _lean = True
        _use_jemalloc(_AT_ONCE_MS)
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such thing outside glibc
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGE)


def _use_jemalloc(decay_ms: int) -> None:
    # Whoever chose an allocator by Arrow's own variable keeps it.
    if "jemalloc" not in pa.supported_memory_backends():
        return
    if pa.default_memory_pool().backend_name == "mimalloc":
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    if pa.default_memory_pool().backend_name == "jemalloc":
        pa.jemalloc_set_decay_ms(decay_ms)
