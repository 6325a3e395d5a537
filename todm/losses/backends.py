"""Who computes the transducer loss: todm itself, k2 or torchaudio, behind one interface."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from torch import Tensor

from todm.core.errors import MissingExtraError
from todm.kernels.precision import without_autocast
from todm.kernels.pruning import prune_starts
from todm.kernels.transducer import Topology
from todm.losses.pruned import pruned_transducer_loss
from todm.losses.simple_transducer import simple_transducer_loss
from todm.losses.transducer import TransducerLoss, transducer_loss

BackendName = Literal["native", "k2", "torchaudio"]


@dataclass(frozen=True)
class Backend:
    """The losses of one implementation; each takes what todm's own of that name takes."""

    full: Callable[..., TransducerLoss]
    pruned: Callable[..., TransducerLoss] | None
    """None where the implementation has no pruned form."""
    simple: Callable[..., tuple[Tensor, Tensor]] | None
    """The simple loss (B) and the first kept position of each frame (B, T); takes ``width`` beside
    the arguments of `simple_transducer_loss`."""


def open_backend(name: BackendName) -> Backend:
    """Return a backend; the package of another than todm's own is imported here.

    Raises:
        MissingExtraError: the package is not installed, or does not load beside this torch.
    """
    match name:
        case "native":
            return Backend(transducer_loss, pruned_transducer_loss, _native_simple)
        case "k2" | "torchaudio":
            try:
                peer = importlib.import_module(f"todm.losses.peer_{name}")
            except (ImportError, OSError) as error:
                raise MissingExtraError(name, extra=name) from error
        case _:
            assert_never(name)
    if name == "torchaudio":
        return Backend(_of_peer(peer.full_loss), None, None)
    simple = without_autocast(peer.simple_loss)
    return Backend(_of_peer(peer.full_loss), _of_peer(peer.pruned_loss), simple)


def _native_simple(
    *lattice: Tensor, width: int, topology: Topology = "regular", **options: Any
) -> tuple[Tensor, Tensor]:
    found = simple_transducer_loss(*lattice, topology=topology, **options)
    lens = lattice[3], lattice[4]
    edges = found.blank_BTU, found.label_BTU
    return found.loss_B, prune_starts(*edges, *lens, width=width, topology=topology)


def _of_peer(loss: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., TransducerLoss]:
    @without_autocast
    def run(*lattice: Tensor, **options: Any) -> TransducerLoss:
        loss_B, valid_B = loss(*lattice, **options)
        return TransducerLoss(loss_B, valid_B, None)

    return run
