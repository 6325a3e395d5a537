"""Sequence classifiers and regressors: one stack for every kind of sequence map.

    x = W_in (u - mean) / std;   depth times: x <- LayerNorm(x + dropout(map(x)));
    outputs = W_out mean_t x_t

The stack is that of Gu et al. 2021 (arXiv 2110.13985): residual, then norm, no FFN; the map is
LSSL, GELU, dropout, linear. Step sizes, where a map has them, belong to sequences of the length
that the spec names.

Legend: B sequences, L frames, I inputs, H width, Y outputs, S state floats.
"""

import copy
import math
from typing import Any, assert_never, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from todm.core.classifier_spec import ClassifierSpec, ConvMap, GRUMap, LSSLMap, MHSSMMap
from todm.core.errors import ConfigError
from todm.core.lssl import LSSLLayerSpec
from todm.core.mixer_specs import MHSSMSpec
from todm.layers.lssl import LSSL
from todm.layers.mhssm import MHSSM
from todm.layers.mixer import CAUSAL


class LSSLBlock(nn.Module):
    """LSSL, GELU, dropout, linear."""

    def __init__(self, spec: ClassifierSpec, sizes: LSSLMap) -> None:
        super().__init__()
        dt_min, dt_max = spec.dt_range
        layer = LSSLLayerSpec(
            state_dim=sizes.state_dim,
            num_outputs=sizes.num_outputs,
            state=sizes.state,
            learn=sizes.learn,
            dt_min=dt_min,
            dt_max=dt_max,
        )
        self.lssl = LSSL(spec.width, layer)
        self.out = nn.Linear(spec.width * sizes.num_outputs, spec.width)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x_BLH: Float[Tensor, "B L H"]) -> Float[Tensor, "B L H"]:
        """Run whole sequences."""
        return self.out(self.dropout(F.gelu(self.lssl(x_BLH))))

    def set_rate(self, rate: float) -> None:
        """Take every ``rate``-th frame."""
        self.lssl.set_rate(rate)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Of the streaming state of one stream."""
        return tuple(self.lssl.c.shape[::2])

    def fold(self, chunk_frames: int) -> Any:
        """Return the constants of ``step``."""
        return self.lssl.fold(chunk_frames)

    def step(self, x_BLH: Tensor, state_BX: Tensor, fold: Any) -> tuple[Tensor, Tensor]:
        """Advance one chunk."""
        y_BLX, next_BX = self.lssl.step(x_BLH, state_BX, fold)
        return self.out(F.gelu(y_BLX)), next_BX


class MHSSMBlock(nn.Module):
    """The multi-head state-space mixer of the recogniser, causal."""

    log_rate: Tensor

    def __init__(self, spec: ClassifierSpec, sizes: MHSSMMap) -> None:
        super().__init__()
        dt_min, dt_max = spec.dt_range
        self.spec = MHSSMSpec(
            num_heads=sizes.num_heads,
            head_dim=sizes.head_dim,
            state_dim=sizes.state_dim,
            gating=sizes.gating,
            dt_min=dt_min,
            dt_max=dt_max,
        )
        self.mixer = MHSSM(spec.width, self.spec)
        self.dropout = nn.Dropout(spec.dropout)
        self.register_buffer("log_rate", torch.zeros(()), persistent=False)

    def forward(self, x_BLH: Float[Tensor, "B L H"]) -> Float[Tensor, "B L H"]:
        """Run whole sequences."""
        return self.mixer.mix(self.dropout(self.mixer.scan(x_BLH, self.spec, CAUSAL)))

    @torch.no_grad()
    def set_rate(self, rate: float) -> None:
        """Take every ``rate``-th frame: A's modes are continuous in time, so dt alone changes."""
        log_rate = torch.log(torch.tensor(rate)).to(self.mixer.log_dt)
        self.mixer.log_dt.add_(log_rate - self.log_rate)
        self.log_rate.copy_(log_rate)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Of the streaming state of one stream."""
        return self.spec.state_shapes()["ssm"]

    def fold(self, chunk_frames: int) -> Any:
        """Return the constants of ``step``."""
        return self.mixer.fold(self.spec, chunk_frames, 0)

    def step(self, x_BLH: Tensor, state_BX: Tensor, fold: Any) -> tuple[Tensor, Tensor]:
        """Advance one chunk."""
        y_BLH, (next_BX,) = self.mixer.step(x_BLH, (state_BX,), self.spec, fold)
        return y_BLH, next_BX


class GRUBlock(nn.Module):
    """A GRU, dropout, linear."""

    def __init__(self, spec: ClassifierSpec, sizes: GRUMap) -> None:
        super().__init__()
        hidden = spec.width if sizes.hidden_dim is None else sizes.hidden_dim
        self.gru = nn.GRU(spec.width, hidden, batch_first=True)
        self.out = nn.Linear(hidden, spec.width)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x_BLH: Float[Tensor, "B L H"]) -> Float[Tensor, "B L H"]:
        """Run whole sequences."""
        return self.out(self.dropout(self.gru(x_BLH)[0]))


class ConvBlock(nn.Module):
    """A causal dilated convolution, GELU, dropout, linear."""

    def __init__(self, spec: ClassifierSpec, sizes: ConvMap, layer: int) -> None:
        super().__init__()
        dilation = sizes.growth**layer
        self.past = (sizes.taps - 1) * dilation
        self.conv = nn.Conv1d(spec.width, spec.width, sizes.taps, dilation=dilation)
        self.out = nn.Linear(spec.width, spec.width)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x_BLH: Float[Tensor, "B L H"]) -> Float[Tensor, "B L H"]:
        """Run whole sequences."""
        y_BHL = self.conv(F.pad(x_BLH.transpose(1, 2), (self.past, 0)))
        return self.out(self.dropout(F.gelu(y_BHL.transpose(1, 2))))


Stepped = LSSLBlock | MHSSMBlock
"""Blocks with step sizes and a chunk form."""
Block = Stepped | GRUBlock | ConvBlock


def build_block(spec: ClassifierSpec, layer: int) -> Block:
    """Build the sequence map of a layer."""
    match spec.map:
        case LSSLMap() as sizes:
            return LSSLBlock(spec, sizes)
        case MHSSMMap() as sizes:
            return MHSSMBlock(spec, sizes)
        case GRUMap() as sizes:
            return GRUBlock(spec, sizes)
        case ConvMap() as sizes:
            return ConvBlock(spec, sizes, layer)
        case _:
            assert_never(spec.map)


class Classifier(nn.Module):
    """Sequences to the outputs of their mean; ``mean`` and ``istd`` are those of training."""

    mean: Tensor
    istd: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.zeros(spec.input_dim))
        self.register_buffer("istd", torch.ones(spec.input_dim))
        self.register_buffer("target_mean", torch.zeros(spec.outputs))
        self.register_buffer("target_std", torch.ones(spec.outputs))
        self.enter = nn.Linear(spec.input_dim, spec.width)
        self.blocks = nn.ModuleList(build_block(spec, layer) for layer in range(spec.depth))
        self.norms = nn.ModuleList(nn.LayerNorm(spec.width) for _ in range(spec.depth))
        self.dropout = nn.Dropout(spec.dropout)
        self.leave = nn.Linear(spec.width, spec.outputs)

    def set_rate(self, rate: float) -> None:
        """Take sequences that keep every ``rate``-th frame of those of training.

        Raises:
            ConfigError: the maps have no step size, or the rate is no positive number.
        """
        for block in self.blocks:
            if not isinstance(block, Stepped):
                raise ConfigError(
                    f"a {self.spec.map.kind} has no step size to change; evaluate it with "
                    "rule=false"
                )
            if not 0.0 < rate < float("inf"):
                raise ConfigError(f"a rate of {rate} is no positive number; 2 keeps every second")
            block.set_rate(rate)

    def features(self, x_BLI: Float[Tensor, "B L I"]) -> Float[Tensor, "B L H"]:
        """Return what the mean is taken of."""
        x_BLH = self.enter((x_BLI - self.mean) * self.istd)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x_BLH = norm(x_BLH + self.dropout(block(x_BLH)))
        return x_BLH

    def forward(self, x_BLI: Float[Tensor, "B L I"]) -> Float[Tensor, "B Y"]:
        """Return logits, or standardised figures."""
        return self.leave(self.features(x_BLI).mean(1))


class StreamingClassifier(nn.Module):
    """A classifier chunk by chunk: each step gives the outputs of all frames so far.

    The state row holds each layer's state, the sum of the features and the number of frames; it
    starts at zero. After the last chunk of a sequence the outputs are those of ``Classifier``;
    figures are in their own unit.
    """

    mean: Tensor
    istd: Tensor

    def __init__(self, model: Classifier, chunk_frames: int, num_frames: int | None = None) -> None:
        """Fold a model, at its present rate, for chunks of so many frames.

        Sequences have ``num_frames``; None takes the length that the model's spec names.

        Raises:
            ConfigError: its maps have no chunk form, or the chunk does not divide its sequences.
        """
        super().__init__()
        spec = model.spec
        if not spec.map.streams:
            raise ConfigError(
                f"a {spec.map.kind} is a baseline of training and is not exported; export an "
                "lssl or an mhssm"
            )
        length = spec.num_frames if num_frames is None else num_frames
        if chunk_frames < 1 or length % chunk_frames:
            raise ConfigError(
                f"chunks of {chunk_frames} frames do not divide sequences of {length}; "
                f"take one of {', '.join(map(str, divisors(length)))}"
            )
        self.chunk_frames = chunk_frames
        for name in ("mean", "istd"):
            self.register_buffer(name, getattr(model, name))
        self.enter, self.norms = model.enter, model.norms
        self.leave = unscaled(model)
        self.blocks = model.blocks
        stepped = [b for b in model.blocks if isinstance(b, Stepped)]
        self.shapes = [block.state_shape for block in stepped]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.sizes += [spec.width, 1]
        self.kinds: list[type[Any]] = []
        with torch.no_grad():
            for layer, block in enumerate(stepped):
                constants = block.fold(chunk_frames)
                self.kinds.append(type(constants))
                for name, value in zip(constants._fields, constants, strict=True):
                    self.register_buffer(f"fold{layer}_{name}", value.contiguous())

    @property
    def state_floats(self) -> int:
        """Width of the state row."""
        return sum(self.sizes)

    def _fold(self, layer: int) -> Any:
        kind = self.kinds[layer]
        return kind(*(getattr(self, f"fold{layer}_{name}") for name in kind._fields))

    def forward(
        self, x_NLI: Float[Tensor, "N L I"], state_NS: Float[Tensor, "N S"]
    ) -> tuple[Float[Tensor, "N Y"], Float[Tensor, "N S"]]:
        """Advance one chunk: outputs so far and the next state row."""
        *states, sum_NH, count_N1 = torch.split(state_NS, self.sizes, 1)
        x_NLH = self.enter((x_NLI - self.mean) * self.istd)
        rows = []
        for layer, (block, norm) in enumerate(zip(self.blocks, self.norms, strict=True)):
            state = states[layer].reshape(-1, *self.shapes[layer])
            y_NLH, following = cast(Stepped, block).step(x_NLH, state, self._fold(layer))
            x_NLH = norm(x_NLH + y_NLH)
            rows.append(following.flatten(1))
        sum_NH, count_N1 = sum_NH + x_NLH.sum(1), count_N1 + float(self.chunk_frames)
        return self.leave(sum_NH / count_N1), torch.cat([*rows, sum_NH, count_N1], 1)


def unscaled(model: Classifier) -> nn.Linear:
    """Return a model's last map, whose figures are in their own unit; logits stay as they are."""
    leave = copy.deepcopy(model.leave)
    with torch.no_grad():
        leave.weight.mul_(model.target_std[:, None])
        leave.bias.mul_(model.target_std).add_(model.target_mean)
    return leave


def divisors(number: int, most: int = 64) -> list[int]:
    """Return the divisors of a number up to ``most``."""
    return [n for n in range(1, min(number, most) + 1) if number % n == 0]
