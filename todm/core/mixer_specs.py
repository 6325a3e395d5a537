"""Specifications of sequence mixers: which one, and its sizes."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from todm.core.lssl import Learn
from todm.core.value import Value

ScanForm = Literal["folded", "unrolled", "custom"]
"""How a graph holds the state-space scan of a chunk: as matrix products of standard operators, as
the recurrence frame by frame, or as todm's own operator, which the user builds (``make native``).
"""


class MixerSizes(Value, ABC):
    """What the rest of todm asks of a mixer's spec, whatever its kind."""

    elastic: ClassVar[tuple[str, ...]]
    """Fields in which the nets of one supernet differ, each a prefix; the others are fixed. A
    search space holds allowed values of each (``core.space.AXIS_VALUES`` says where)."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The axis that says how large the mixer is; dropout follows it."""

    @property
    def looks_ahead(self) -> bool:
        """Whether it can use later frames of its own chunk."""
        return False

    @abstractmethod
    def axes(self) -> dict[str, int]:
        """Return the values of ``elastic``, in that order, by their short names."""

    @abstractmethod
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each part of the streaming state of one stream."""

    @property
    def state_floats(self) -> int:
        """Floats of streaming state."""
        return sum(math.prod(shape) for shape in self.state_shapes().values())

    def fixed(self) -> dict[str, Any]:
        """Return what every net of a supernet has in common with the largest."""
        return self.model_dump(exclude=set(self.elastic))


class HeadSizes(MixerSizes):
    """A mixer whose channels come in heads of equal size, of which a prefix is kept."""

    num_heads: int = Field(ge=1)
    """Heads kept, a prefix."""
    head_dim: int = Field(ge=1)
    """Channels per head, P."""

    @property
    def inner_dim(self) -> int:
        """Width between the input and output projections, H * P."""
        return self.num_heads * self.head_dim

    @property
    def width(self) -> int:
        """Heads."""
        return self.num_heads


class StateSizes(HeadSizes):
    """Heads with a linear state each, which its channels share, and a step size of their own."""

    elastic: ClassVar[tuple[str, ...]] = ("num_heads", "state_dim")

    state_dim: int = Field(ge=1)
    """Size of the state per head, N, a prefix."""
    dt_min: float = Field(default=0.01, gt=0.0)
    """Least and largest step size at birth, one a head, in frames of 40 ms."""
    dt_max: float = Field(default=0.5, gt=0.0)

    @model_validator(mode="after")
    def _steps_differ(self) -> Self:
        if self.dt_min >= self.dt_max:
            raise ValueError(f"dt_min {self.dt_min} must be below dt_max {self.dt_max}")
        return self

    def axes(self) -> dict[str, int]:
        """Return heads and size of the state."""
        return {"heads": self.num_heads, "state": self.state_dim}


class MHSSMSpec(StateSizes):
    """A multi-head state-space mixer (Fathullah et al. 2023, arXiv 2305.12498)."""

    kind: Literal["mhssm"] = "mhssm"
    num_heads: int = Field(ge=2, multiple_of=2)
    """Heads kept, a prefix; even, because gating partners are neighbours."""
    state_dim: int = Field(ge=1)
    """Complex modes per head, N, a prefix of lowest frequencies first."""
    backward: bool = False
    """A second scan of as many modes against time, inside the ``SubnetSpec``'s lookahead."""
    conv_frames: int = Field(default=0, ge=0)
    """Taps of a causal depthwise convolution before the scan; 0 is none, 1 would do nothing."""
    gating: Literal["out_glu", "head_glu", "pairs", "none"] = "out_glu"
    """How heads gate each other, z after the scan's activation and v * sigmoid(g) a gate:
    ``out_glu`` maps all heads to v and g of the model's width; ``head_glu`` maps them to v and g
    of half as many heads, then out; ``pairs`` takes v from head 2 j and g from a map of head
    2 j + 1 alone, then out; ``none`` maps out."""

    @model_validator(mode="after")
    def _conv_mixes(self) -> Self:
        if self.conv_frames == 1:
            raise ValueError("conv_frames 1 mixes nothing; give 0 (none) or at least 2")
        return self

    @property
    def looks_ahead(self) -> bool:
        """Whether there is a scan against time."""
        return self.backward

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the convolution's past frames, and the modes: real rows, then imaginary."""
        conv = {"conv": (self.conv_frames - 1, self.inner_dim)} if self.conv_frames else {}
        return {**conv, "ssm": (self.num_heads, 2 * self.state_dim, self.head_dim)}


class PGNSpec(HeadSizes):
    """A parallel gated network (Jia et al. 2024, arXiv 2409.17703) over the last frames.

    Heads are a unit of size only: all channels see each other.
    """

    elastic: ClassVar[tuple[str, ...]] = ("num_heads", "window")

    kind: Literal["pgn"] = "pgn"
    window: int = Field(default=16, ge=1)
    """Frames of history, W, a prefix of most recent first; the frame itself is not among them."""

    def axes(self) -> dict[str, int]:
        """Return groups of channels and window."""
        return {"heads": self.num_heads, "window": self.window}

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the last inputs of the history, oldest first."""
        return {"history": (self.window, self.inner_dim)}


class LSSLSpec(StateSizes):
    """Heads of linear state-space layers (Gu et al. 2021, arXiv 2110.13985)."""

    kind: Literal["lssl"] = "lssl"
    state_dim: int = Field(ge=1)
    """Order of the real state per head, N: A is lower triangular, so a prefix is a smaller order's
    state. (LegT has no such prefixes and is no mixer.)"""
    state: Literal["legs", "lagt"] = "legs"
    learn: Learn = "dt_a"
    alpha: float = Field(default=0.5, ge=0.5, le=1.0)
    """Discretisation: 1/2 bilinear, 1 backward Euler; below 1/2 steps this long are unstable."""
    gating: Literal["out_glu", "none"] = "out_glu"
    """As an ``MHSSMSpec``'s; the paper has none."""
    dt_max: float = Field(default=0.5, le=1.0)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the state."""
        return {"ssm": (self.num_heads, self.state_dim, self.head_dim)}


MixerSpec = MHSSMSpec | PGNSpec | LSSLSpec
"""Which sequence mixer; further kinds join this union."""
