"""Keys for the counter-based random numbers of the C core.

A draw is a pure function of (key, counter). The key names *what* is drawn (seed, step, question, plan, chain), so a
response never depends on what else shares its batch, on the thread count, or on how often a run was interrupted.
"""

from __future__ import annotations

import hashlib


def key(*parts: int | str) -> int:
    """Return a 64-bit key from a stable hash of `parts`.

    >>> key(0, "q1", 2) == key(0, "q1", 2), key(0, "q1", 2) == key(0, "q1", 3)
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = f"{type(part).__name__}:{part}".encode()
        digest.update(len(data).to_bytes(4, "little") + data)
    return int.from_bytes(digest.digest(), "little")
