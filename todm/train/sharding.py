"""Nets above one GPU's memory: weights, gradients and optimizer state spread over the processes.

FSDP2 (``fully_shard``; Zhao et al. 2023, arXiv 2304.11277) keeps a piece of every tensor on each
process and puts a block together for the time that it runs. It reduces gradients in every
backward: to keep them whole until the step's last one is what it is there to avoid.

The optimizer needs whole tensors (ScaledAdam's rms and the norm that it clips by), so its state is
spread tensor by tensor instead (as in ZeRO: Rajbhandari et al. 2020, arXiv 1910.02054): each
process updates the tensors that it owns, in whole, and every process takes its pieces from there.
The arithmetic is that of a single process. Averages, evaluation and checkpoints see a whole copy
of the weights that rank 0 holds.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from todm.core.config import OptimConfig
from todm.core.errors import ArtifactError
from todm.core.space import SearchSpace
from todm.models.rnnt import Transducer
from todm.optim.build import StepOptimizer, build_optimizer
from todm.train.ranks import Ranks, lost_process_told


def shard(model: Transducer, device: torch.device) -> Transducer:
    """Spread a net over all processes, block by block, and return a whole copy of it (on the CPU).

    Every unit is one that is called as a module, which is when FSDP puts it together.
    """
    whole = copy.deepcopy(model)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    encoder, joiner = model.encoder, model.joiner
    units = [
        encoder.front,
        *encoder.blocks.values(),
        encoder.norm,
        model.predictor,
        joiner.from_encoder,
        joiner.from_predictor,
        joiner.to_vocab,
        *([] if model.simple is None else [model.simple]),
    ]
    for unit in units:
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        assert isinstance(unit, FSDPModule)
        unit.set_force_sum_reduction_for_comms(True)  # a sum, as everywhere: no division by ranks
        unit.set_gradient_divide_factor(1.0)
    for name, buffer in whole.named_buffers():
        model.get_buffer(name).data = buffer.to(device)
    return whole


def _pieces(model: nn.Module) -> Iterator[tuple[str, DTensor]]:
    for name, parameter in model.named_parameters():
        assert isinstance(parameter, DTensor)
        yield name, parameter


@torch.no_grad()
def gather(model: nn.Module, whole: nn.Module, *, keep: bool) -> None:
    """Write the spread weights into a whole copy, where this process keeps one."""
    with lost_process_told():
        for name, piece in _pieces(model):
            full = piece.full_tensor()
            if keep:
                whole.get_parameter(name).copy_(full)


@torch.no_grad()
def scatter(weights: dict[str, Tensor], model: nn.Module) -> None:
    """Take this process's pieces from whole weights, which every process has."""
    for name, piece in _pieces(model):
        _take(piece, weights[name].to(piece.device))
    for name, buffer in model.named_buffers():
        buffer.copy_(weights[name])


def _take(piece: DTensor, full: Tensor) -> None:
    mine = distribute_tensor(full, piece.device_mesh, piece.placements, src_data_rank=None)
    piece.copy_(mine)


class _Owned(nn.Module):
    """Parameters under the names that they have in the net."""

    def __init__(self, named: dict[str, nn.Parameter]) -> None:
        super().__init__()
        self._named = named

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self._named.items()


class OwnedOptimizer:
    """The interface of ``StepOptimizer`` over a spread net; see the module's docstring."""

    def __init__(
        self, model: nn.Module, config: OptimConfig, space: SearchSpace, ranks: Ranks
    ) -> None:
        self._model = model
        self._ranks = ranks
        shapes = {name: piece.numel() for name, piece in _pieces(model)}
        self._owner = owners(shapes, ranks.world)
        self._own: dict[str, nn.Parameter] = {}
        with torch.no_grad():
            for name, piece in _pieces(model):
                full = piece.full_tensor()
                if self._owner[name] == ranks.rank:
                    self._own[name] = nn.Parameter(full.clone())
        self._inner: StepOptimizer = build_optimizer(_Owned(self._own), config, space)
        self._inner.inner.combine_norm = self._norm_of_all
        self.set_factor: Callable[[float], None] = self._inner.set_factor

    def _norm_of_all(self, norm: float) -> float:
        squares = torch.tensor(norm * norm, dtype=torch.float64, device=self._device)
        with lost_process_told():
            dist.all_reduce(squares)
        return math.sqrt(float(squares)) if float(squares) >= 0 else math.nan

    @property
    def _device(self) -> torch.device:
        return next(iter(self._model.parameters())).device

    @torch.no_grad()
    def step(self) -> None:
        """Update the owned tensors and let every process take its pieces of all."""
        with lost_process_told():
            self._collect()
        self._inner.step()
        with lost_process_told():
            for name, piece in _pieces(self._model):
                self._spread(name, piece)

    def _collect(self) -> None:
        """Put the gradients of the owned tensors together, one tensor at a time."""
        for name, piece in _pieces(self._model):
            if piece.grad is None:  # on every process: all train the same nets
                continue
            assert isinstance(piece.grad, DTensor)
            full = piece.grad.full_tensor()
            if name in self._own:
                self._own[name].grad = full.clone()

    def _spread(self, name: str, piece: DTensor) -> None:
        mine = self._own.get(name)
        if mine is None:
            full = torch.empty(piece.shape, dtype=piece.dtype, device=piece.device)
        else:
            full = mine.detach()
        dist.broadcast(full, self._owner[name])
        _take(piece, full)

    def zero_grad(self) -> None:
        """Drop the gradients, pieces and whole ones."""
        self._model.zero_grad(set_to_none=True)
        self._inner.zero_grad()

    @property
    def skipped(self) -> bool:
        """Whether the last step was not finite and was skipped."""
        return self._inner.skipped

    @property
    def grad_norm(self) -> float:
        """The last gradient norm before clipping."""
        return self._inner.grad_norm

    def state_dict(self) -> dict[str, Any]:
        """Return every process's state, on rank 0; an empty one on the others."""
        found: list[Any] | None = [None] * self._ranks.world if self._ranks.is_first else None
        with lost_process_told():
            dist.gather_object(self._inner.state_dict(), found)
        return {"ranks": found} if found is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state of the same number of processes.

        Raises:
            ArtifactError: it is of another number, or of a run that was not spread.
        """
        saved = state.get("ranks")
        if saved is None or len(saved) != self._ranks.world:
            of = "a run without run.strategy fsdp" if saved is None else f"{len(saved)} processes"
            raise ArtifactError(
                f"the checkpoint is of {of}; with run.strategy fsdp a run goes on with the same "
                f"number of processes (here {self._ranks.world})"
            )
        self._inner.load_state_dict(saved[self._ranks.rank])
        with torch.no_grad():
            for name, piece in _pieces(self._model):
                full = piece.full_tensor()
                if name in self._own:
                    self._own[name].copy_(full)


def owners(sizes: dict[str, int], world: int) -> dict[str, int]:
    """Give every tensor to the process that owns least so far, the large ones first."""
    load = [0] * world
    found = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        rank = min(range(world), key=lambda r: (load[r], r))
        found[name] = rank
        load[rank] += sizes[name]
    return found
