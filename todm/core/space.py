"""The search space: the largest net and the allowed values of each elastic axis.

The only place that samples, mutates, counts and names the choices of a supernet.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from pydantic import Field, ValidationError, model_validator

from todm.core.mixer_specs import MixerSpec
from todm.core.specs import BlockSpec, SubnetSpec
from todm.core.value import Value, explain

AXIS_VALUES = {"num_heads": "heads", "state_dim": "state_dims", "window": "windows"}
"""Where a space holds the allowed values of a mixer's elastic field."""


class SearchSpace(Value):
    """Which subnets a supernet holds. Every axis value is a prefix of the largest net's."""

    largest: SubnetSpec
    depths: tuple[int, ...] = Field(min_length=1)
    """Allowed numbers of kept layers."""
    depth_order: tuple[int, ...]
    """Layers in the order in which they are kept: a net of depth k keeps the first k, so that
    kept sets are nested."""
    ffn_dims: tuple[int, ...] = Field(min_length=1)
    heads: tuple[int, ...] = ()
    """Of the axes of mixers, just those of the largest net's have values."""
    state_dims: tuple[int, ...] = ()
    windows: tuple[int, ...] = Field(default=(), exclude_if=lambda values: not values)
    joiner_dims: tuple[int, ...] = Field(min_length=1)
    lookaheads: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Allowed ``lookahead_frames``; a training step draws one for all of its nets. The chunk is
    no axis: what a net computes does not depend on it, and a device chooses it."""

    @model_validator(mode="after")
    def _values_fit(self) -> "SearchSpace":
        top = self.largest.blocks[0]
        if any(b.source_layer != i for i, b in enumerate(self.largest.blocks)):
            raise ValueError("the largest net must keep layers 0, 1, 2, ...")
        if any((b.ffn_dim, b.mixer) != (top.ffn_dim, top.mixer) for b in self.largest.blocks):
            raise ValueError("the layers of the largest net must be alike")
        if sorted(self.depth_order) != list(range(len(self.largest.blocks))):
            raise ValueError("depth_order must name every layer once")
        ends = {
            "depths": (self.depths, len(self.largest.blocks)),
            "ffn_dims": (self.ffn_dims, top.ffn_dim),
            "joiner_dims": (self.joiner_dims, self.largest.joiner_dim),
        }
        for field in top.mixer.elastic:
            name = AXIS_VALUES[field]
            ends[name] = (getattr(self, name), getattr(top.mixer, field))
        for name, (values, largest) in ends.items():
            if list(values) != sorted(set(values)) or values[-1:] != (largest,) or values[0] < 1:
                raise ValueError(f"{name} must ascend and end with the largest net's {largest}")
        return self

    @model_validator(mode="after")
    def _mixers_exist(self) -> "SearchSpace":
        mixer = self.largest.blocks[0].mixer
        for field, name in AXIS_VALUES.items():
            values = getattr(self, name)
            if values and field not in mixer.elastic:
                raise ValueError(f"{name}: a mixer of kind {mixer.kind} has no such axis")
            for value in values:
                try:
                    type(mixer).model_validate(mixer.model_dump() | {field: value})
                except ValidationError as error:
                    raise ValueError(f"{name}: {explain(error)}") from error
        return self

    @model_validator(mode="after")
    def _lookaheads_fit(self) -> "SearchSpace":
        values, chunk = self.lookaheads, self.largest.chunk_frames
        most = self.largest.lookahead_frames
        if list(values) != sorted(set(values)) or values[-1] != most or values[0] < 0:
            raise ValueError(f"lookaheads must ascend and end with the largest net's {most}")
        if any(not self.at(self.largest, n).fits_chunk(chunk) for n in values):
            raise ValueError(
                f"lookaheads {values} make blocks of one frame more; the largest net's "
                f"chunk_frames {chunk} must be a multiple of each"
            )
        return self

    def at(self, spec: SubnetSpec, lookahead_frames: int) -> SubnetSpec:
        """Return the net with another lookahead: the same weights."""
        return spec.model_copy(update={"lookahead_frames": lookahead_frames})

    def reformed(
        self, *, lookaheads: tuple[int, ...], chunk_frames: int, **form: object
    ) -> "SearchSpace":
        """Return the same axes over another largest net.

        Args:
            lookaheads: allowed ``lookahead_frames``.
            chunk_frames: a multiple of each lookahead plus one.
            form: fields of every layer's mixer, such as ``backward=True``.

        Raises:
            ConfigError: there is no such space.
        """
        data = self.to_json() | {"lookaheads": lookaheads}
        for block in data["largest"]["blocks"]:
            block["mixer"] |= form
        data["largest"] |= {"lookahead_frames": lookaheads[-1], "chunk_frames": chunk_frames}
        return SearchSpace.parse(data, where="space")

    def kept_layers(self, depth: int) -> tuple[int, ...]:
        """Return the layers that a net of this depth keeps, ascending."""
        return tuple(sorted(self.depth_order[:depth]))

    @property
    def layer_axes(self) -> dict[str, tuple[int, ...]]:
        """Allowed values of each width of a layer, by short name: the FFN's, then the mixer's."""
        mixer = self.largest.blocks[0].mixer
        names = zip(mixer.axes(), mixer.elastic, strict=True)
        return {
            "ffn": self.ffn_dims,
            **{name: getattr(self, AXIS_VALUES[field]) for name, field in names},
        }

    @classmethod
    def alone(cls, net: SubnetSpec) -> "SearchSpace":
        """Return the space that holds one net only, whose layers are all alike."""
        top = net.blocks[0]
        blocks = tuple(
            block.model_copy(update={"source_layer": layer})
            for layer, block in enumerate(net.blocks)
        )
        mixer = {AXIS_VALUES[field]: (getattr(top.mixer, field),) for field in top.mixer.elastic}
        return cls(
            largest=net.model_copy(update={"blocks": blocks}),
            depths=(len(blocks),),
            depth_order=spread_order(len(blocks)),
            ffn_dims=(top.ffn_dim,),
            joiner_dims=(net.joiner_dim,),
            lookaheads=(net.lookahead_frames,),
            **mixer,
        )

    def uniform(self, depth: int, *widths: int) -> SubnetSpec:
        """Return the net whose kept layers are all alike.

        Args:
            depth: how many layers it keeps.
            widths: one of each of ``layer_axes`` in that order, then the joiner's.
        """
        *layer, joiner_dim = widths
        return self.build({kept: layer for kept in self.kept_layers(depth)}, joiner_dim)

    def build(self, layers: Mapping[int, Sequence[int]], joiner_dim: int) -> SubnetSpec:
        """Return the net with these widths (``layer_axes``) of each kept layer."""
        blocks = tuple(
            BlockSpec(source_layer=layer, ffn_dim=ffn_dim, mixer=self._mixer(sizes))
            for layer, (ffn_dim, *sizes) in layers.items()
        )
        return self.largest.model_copy(update={"blocks": blocks, "joiner_dim": joiner_dim})

    def _mixer(self, sizes: Sequence[int]) -> MixerSpec:
        mixer = self.largest.blocks[0].mixer
        return mixer.model_copy(update=dict(zip(mixer.elastic, sizes, strict=True)))

    @cached_property
    def smallest(self) -> SubnetSpec:
        """The net with the least of every axis."""
        axes = (self.depths, *self.layer_axes.values(), self.joiner_dims)
        return self.uniform(*(values[0] for values in axes))

    @cached_property
    def middle(self) -> SubnetSpec:
        """The net with the (upper) median of every axis."""
        axes = (self.depths, *self.layer_axes.values(), self.joiner_dims)
        return self.uniform(*(values[len(values) // 2] for values in axes))

    def named(self) -> dict[str, SubnetSpec]:
        """Return the nets whose progress training reports.

        Three sizes that look equally far ahead, then the largest net at every smaller lookahead.
        """
        sizes = {"largest": self.largest, "middle": self.middle, "smallest": self.smallest}
        others = {f"largest@{n}": self.at(self.largest, n) for n in self.lookaheads[-2::-1]}
        return sizes | others

    def choices(self) -> dict[str, tuple[int, ...]]:
        """Return every decision by name: the genome of a subnet.

        Width decisions are per layer of the supernet; those of dropped layers have no effect. The
        lookahead is a decision where there is more than one.
        """
        table: dict[str, tuple[int, ...]] = {"depth": self.depths, "joiner": self.joiner_dims}
        for layer in range(len(self.largest.blocks)):
            table |= {f"{name}{layer}": values for name, values in self.layer_axes.items()}
        return table | ({"lookahead": self.lookaheads} if len(self.lookaheads) > 1 else {})

    def decode(self, genome: Mapping[str, int]) -> SubnetSpec:
        """Return the net that a genome names."""
        layers = {
            layer: [genome[f"{name}{layer}"] for name in self.layer_axes]
            for layer in self.kept_layers(genome["depth"])
        }
        net = self.build(layers, genome["joiner"])
        return self.at(net, genome.get("lookahead", net.lookahead_frames))

    def encode(self, spec: SubnetSpec) -> dict[str, int]:
        """Return a genome of the net; dropped layers carry the largest values."""
        genome = {name: values[-1] for name, values in self.choices().items()}
        genome |= {"depth": len(spec.blocks), "joiner": spec.joiner_dim}
        for block in spec.blocks:
            widths = {"ffn": block.ffn_dim, **block.mixer.axes()}
            genome |= {f"{name}{block.source_layer}": value for name, value in widths.items()}
        if len(self.lookaheads) > 1:
            genome["lookahead"] = spec.lookahead_frames
        return genome

    def sample(self, generator: random.Random) -> SubnetSpec:
        """Draw every decision uniformly."""
        return self.decode({k: generator.choice(v) for k, v in self.choices().items()})

    def mutate(self, spec: SubnetSpec, generator: random.Random, rate: float = 0.1) -> SubnetSpec:
        """Redraw each decision with probability ``rate``."""
        genome = self.encode(spec)
        for name, values in self.choices().items():
            if generator.random() < rate:
                genome[name] = generator.choice(values)
        return self.decode(genome)

    def contains(self, spec: SubnetSpec) -> bool:
        """Tell whether the net is one of this space's."""
        choices = self.choices()
        genome = self.encode(spec)
        if any(genome.get(name) not in values for name, values in choices.items()):
            return False
        same_frame = self.decode(genome).model_copy(update={"chunk_frames": spec.chunk_frames})
        return same_frame == spec

    def count(self) -> int:
        """Return how many different nets there are."""
        per_layer = math.prod(len(values) for values in self.layer_axes.values())
        outer = len(self.joiner_dims) * len(self.lookaheads)
        return outer * sum(int(per_layer**depth) for depth in self.depths)

    def every(self) -> Iterator[SubnetSpec]:
        """Yield every net; only for small spaces."""
        layer_choices = list(itertools.product(*self.layer_axes.values()))
        for depth, joiner in itertools.product(self.depths, self.joiner_dims):
            for widths in itertools.product(layer_choices, repeat=depth):
                net = self.build(dict(zip(self.kept_layers(depth), widths, strict=True)), joiner)
                yield from (self.at(net, frames) for frames in self.lookaheads)


def spread_order(num_layers: int) -> tuple[int, ...]:
    """Return a keep order that starts with both ends and then bisects the gaps.

    Every prefix of two or more covers the whole depth. The same order assigns timescales to
    heads, so that a prefix of heads covers the whole range.
    """
    order: list[int] = [0] if num_layers == 1 else [0, num_layers - 1]
    gaps = [(0, num_layers - 1)]
    while gaps:
        low, high = gaps.pop(0)
        middle = (low + high) // 2
        if middle in (low, high):
            continue
        order.append(middle)
        gaps += [(low, middle), (middle, high)]
    return tuple(order)
