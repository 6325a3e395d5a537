"""Several processes, one training: how they start, agree and add up their gradients.

torchrun starts the processes and says in their environment who they are; Lightning Fabric joins
them. Rank 0 alone writes, logs and evaluates; the others learn its results from it.

Gradients are added once a step, after the backwards of all its nets, rather than inside
DistributedDataParallel's: a net that leaves parameters out would keep its hooks waiting, and the
step's last backward, that of the shared front end, leaves nothing to overlap with.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from todm.core.config import RunConfig
from todm.core.errors import ConfigError, LostProcessError

R = TypeVar("R")

BUCKET_ELEMENTS = 1 << 24
"""Elements added at once (64 MB in float32): few calls, little memory on top."""


def launch(config: RunConfig) -> Fabric:
    """Return Fabric with devices and processes as the configuration and torchrun's environment say.

    It makes the process group for either strategy: what each does with gradients and weights
    stands in ``Ranks`` and in ``sharding``.

    Raises:
        ConfigError: a strategy of several processes without torchrun, or too few GPUs.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its banners say nothing new
    started = dist.is_available() and dist.is_torchelastic_launched()
    world = int(os.environ["WORLD_SIZE"]) if started else 1
    if config.strategy != "auto" and not started:
        raise ConfigError(
            f"run.strategy {config.strategy} needs the processes that torchrun starts: "
            "torchrun --nproc-per-node 8 -m todm train-supernet ..., or leave it at auto"
        )
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "run.accelerator is cuda and torch sees no GPU; install a CUDA build (make setup "
            "DEVICE=cuda), or say --set run.accelerator=cpu"
        )
    if world == 1 and config.strategy != "fsdp":
        return Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    _check_devices(config, local)
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=local,
        num_nodes=world // local,
        strategy=DDPStrategy(timeout=timedelta(seconds=config.sync_timeout_s)),
        precision=config.precision,
    )
    with lost_process_told():
        fabric.launch()
    return fabric


def _check_devices(config: RunConfig, local: int) -> None:
    on_gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    if on_gpu and torch.cuda.device_count() < local:
        raise ConfigError(
            f"torchrun started {local} processes on a machine with {torch.cuda.device_count()} "
            "GPU(s); lower --nproc-per-node or say --set run.accelerator=cpu"
        )


def is_first_process() -> bool:
    """Tell from torchrun's environment whether this process speaks for all; alone it does."""
    return os.environ.get("RANK", "0") == "0" or not dist.is_torchelastic_launched()


def threads_each(config: RunConfig) -> int:
    """Return how many CPU threads this process takes: its share of the cores by default."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return config.threads or max(1, (os.cpu_count() or 1) // processes)


_PEER_TROUBLE = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""What stands in torch's plain RuntimeErrors about other processes."""


@contextlib.contextmanager
def lost_process_told() -> Iterator[None]:
    """Turn what torch raises when another process is gone into one clear line."""
    try:
        yield
    except RuntimeError as error:  # torch.distributed's own errors are among its subclasses
        text = str(error)
        if not isinstance(error, dist.DistError) and not any(w in text for w in _PEER_TROUBLE):
            raise
        reason = text.strip().splitlines()[0][:200] if text.strip() else type(error).__name__
        raise LostProcessError(
            "another process of this training ended or stopped answering, see its own message "
            f"above ({reason}); give the same command again to go on from the last checkpoint"
        ) from error


@dataclass(frozen=True)
class _Outcome:
    """What rank 0 tells the others of a call: its result, or how it failed."""

    result: object
    failure: str | None


class Ranks:
    """The processes of one training, seen from one of them."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.world: int = fabric.world_size
        self.rank: int = fabric.global_rank

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes, logs and evaluates."""
        return self.rank == 0

    def first(self, call: Callable[[], R]) -> R:
        """Run the call on rank 0 and return its result on every rank.

        Raises:
            LostProcessError: on the other ranks, where rank 0's call failed.
        """
        if self.world == 1:
            return call()
        outcome = _Outcome(None, None)
        if self.is_first:
            try:
                outcome = _Outcome(call(), None)
            except Exception as error:
                self._tell(_Outcome(None, f"{type(error).__name__}: {error}"))
                raise
        outcome = self._tell(outcome)
        if outcome.failure is not None:
            raise LostProcessError(f"rank 0 failed: {outcome.failure}")
        return outcome.result  # type: ignore[return-value]

    def _tell(self, outcome: _Outcome) -> _Outcome:
        with lost_process_told():
            return self._fabric.broadcast(outcome)

    def align(self, model: nn.Module) -> None:
        """Give every rank rank 0's weights, bit for bit."""
        if self.world == 1:
            return
        with torch.no_grad(), lost_process_told():
            for tensor in model.state_dict().values():
                moved = tensor.to(self._fabric.device)
                dist.broadcast(moved, 0)
                tensor.copy_(moved)

    def count(self, here: bool) -> int:
        """Return on how many ranks something holds."""
        if self.world == 1:
            return int(here)
        votes = torch.tensor([float(here)], device=self._fabric.device)
        with lost_process_told():
            dist.all_reduce(votes)
        return int(votes.item())

    @torch.no_grad()
    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the ranks; a missing one counts as zero."""
        if self.world == 1:
            return
        for bucket in _buckets(list(parameters)):
            flat = torch.cat(
                [(p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten()) for p in bucket]
            )
            with lost_process_told():
                dist.all_reduce(flat)
            parts = torch.split(flat, [p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield runs of parameters of one dtype, each at most a bucket (or a single parameter)."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        full = size + parameter.numel() > BUCKET_ELEMENTS
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket
