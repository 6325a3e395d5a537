"""The ledger of a training: what was computed, for which net, on how much speech.

MACs are counted by ``core.cost_training`` with the padded shape of every step's own batch, not
with means. Evaluations on dev are not in the MACs; wall and CPU seconds hold them, and loading.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from todm.core.config import DistillMode
from todm.core.cost_training import NetMacs, TrainingShape, step_macs
from todm.core.specs import SubnetSpec
from todm.core.value import Value

LARGEST = "largest"


class TrainedNet(NamedTuple):
    """A net of a step, and the part of the batch that it was trained on."""

    name: str
    spec: SubnetSpec
    shape: TrainingShape
    frames: int
    """fbank frames of the part, padding left out."""
    no_path: int = 0
    """Utterances of the part without a path through the lattice: they teach nothing."""


class NetLedger(Value):
    """What one name of the sandwich (``largest``, ``smallest``, ``random0`` ...) took."""

    steps: int = 0
    """Steps that trained it."""
    utterances: int = 0
    frames: int = 0
    """fbank frames (10 ms), padding left out."""
    padded_frames: int = 0
    no_path: int = 0
    """Utterances that taught nothing: their lattice (or what pruning kept of it) has no path."""
    macs: NetMacs = NetMacs()

    def __add__(self, other: "NetLedger") -> "NetLedger":
        """Add figure by figure."""
        fields = type(self).model_fields
        return NetLedger(**{k: getattr(self, k) + getattr(other, k) for k in fields})


class TrainingLedger(Value):
    """What a whole training took; ``ledger.json`` of a supernet."""

    steps: int = 0
    nets: dict[str, NetLedger] = Field(default_factory=dict)
    wall_s: float = 0.0
    """Over all starts of a run that was stopped, up to its last checkpoint each."""
    cpu_s: float = 0.0

    @property
    def macs(self) -> int:
        """MACs of all nets, forward and backward."""
        return sum(net.macs.total for net in self.nets.values())

    @property
    def ratio_to_largest(self) -> float:
        """All MACs over those of the largest net alone on the same batches.

        The largest net runs in every step on the whole batch and makes what the nets share, so
        its own entry is what its training alone would take.
        """
        return self.macs / self.nets[LARGEST].macs.total

    def after_step(self, nets: Sequence[TrainedNet], distill: DistillMode) -> "TrainingLedger":
        """Return the ledger with one more step, whose largest net comes first."""
        found = dict(self.nets)
        counted = step_macs([(net.spec, net.shape) for net in nets], distill)
        for net, macs in zip(nets, counted, strict=True):
            entry = NetLedger(
                steps=1,
                utterances=net.shape.batch,
                frames=net.frames,
                padded_frames=net.shape.batch * net.shape.frames,
                no_path=net.no_path,
                macs=macs,
            )
            found[net.name] = found.get(net.name, NetLedger()) + entry
        return self.model_copy(update={"steps": self.steps + 1, "nets": found})

    def timed(self, wall_s: float, cpu_s: float) -> "TrainingLedger":
        """Return the ledger with its seconds."""
        return self.model_copy(update={"wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1)})
