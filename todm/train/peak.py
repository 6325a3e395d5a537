"""The peak of memory that tensors take during a computation, on any device without counters.

Every tensor that an operator returns is counted with its storage until that is freed. What a
kernel holds inside itself, and what an allocator rounds up, is not seen.
"""

import weakref
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class PeakBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is active; tensors made before do not count."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        """Most bytes held at once."""
        self._held = 0
        self._known = WeakIdKeyDictionary()

    def __enter__(self) -> "PeakBytes":
        """Start to count."""
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and hold what it returns."""
        given = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if _is_real(x)}
        found = func(*args, **(kwargs or {}))
        for x in tree_leaves(found):
            if _is_real(x) and id(x.untyped_storage()) not in given:
                self._hold(x.untyped_storage())
        return found

    def _hold(self, storage: UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        weakref.finalize(storage, self._free, size)
        self._held += size
        self.peak = max(self.peak, self._held)

    def _free(self, size: int) -> None:
        self._held -= size


def _is_real(x: object) -> bool:
    return isinstance(x, Tensor)
