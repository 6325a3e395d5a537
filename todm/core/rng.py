"""Seeds derived from what they are for, so that any step replays alone."""

import hashlib

SeedPart = int | str


def derive_seed(seed: int, *parts: SeedPart) -> int:
    """Return a 63-bit seed from a base seed and the purpose that it serves.

    The same arguments give the same seed on every machine: sha256 of their text.
    """
    text = "\x1f".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
