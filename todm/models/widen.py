"""Starting a supernet from the weights of another: slicing backwards.

Every tensor of the old net becomes the leading block of the new one's, and its layers become those
that a net of its depth keeps in the new space (rule 2 of the architecture), so each old subnet
stands inside the new supernet and computes what it did. What is new starts where it adds nothing:
the weights that carry its outputs back are zero (function-preserving growth: Chen et al. 2016,
Net2Net, arXiv 1511.05641), so the wider nets begin as the old largest one too and learn from there.
"""

import re

import torch
from torch import Tensor

from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.models.rnnt import Transducer

VOCABULARY = ("predictor.embed.weight", "joiner.to_vocab.weight", "joiner.to_vocab.bias")
"""What speaks of single tokens; it starts anew when they are others."""

_LAYER = re.compile(r"encoder\.blocks\.(\d+)\.(.+)")
_GROWN = (
    "mixer.w_value.weight",
    "mixer.w_gate.weight",
    "mixer.c",
    "ffn_out.weight",
    "joiner.to_vocab.weight",
)
"""Tensors whose new part is zero: through them new channels and modes act."""
_INSERTED = ("mixer.w_value.weight", "mixer.w_value.bias", "ffn_out.weight", "ffn_out.bias")
"""Tensors of an inserted layer that are zero: what it adds to its input."""


def fixed_differences(new: SubnetSpec, old: SubnetSpec) -> dict[str, tuple[object, object]]:
    """Return the sizes that do not grow and differ all the same: new and old by name."""
    sizes = {
        "front": (new.front, old.front),
        "model_dim": (new.model_dim, old.model_dim),
        "predictor": (new.predictor, old.predictor),
        "mixer.head_dim": (new.blocks[0].mixer.head_dim, old.blocks[0].mixer.head_dim),
    }
    return {name: pair for name, pair in sizes.items() if pair[0] != pair[1]}


@torch.no_grad()
def adopt(
    model: Transducer, space: SearchSpace, old: Transducer, old_space: SearchSpace, *, tokens: bool
) -> None:
    """Write another supernet's weights into a fresh one.

    Args:
        model: The new supernet, initialised; of ``space``.
        space: Its space.
        old: The net to start from, of ``old_space``; of a larger one the leading part is taken.
        old_space: Its space.
        tokens: Whether both have one token table; otherwise ``VOCABULARY`` keeps its fresh start.

    Raises:
        ValueError: the nets differ in a size that does not grow.
    """
    wrong = fixed_differences(space.largest, old_space.largest)
    if wrong:
        raise ValueError(f"a supernet cannot start from one of another {', '.join(wrong)}")
    depth = min(len(space.largest.blocks), len(old_space.largest.blocks))
    origin = dict(zip(space.kept_layers(depth), old_space.kept_layers(depth), strict=True))
    source = old.state_dict()
    for name, tensor in model.state_dict().items():
        if name in VOCABULARY and not tokens:
            continue
        layer = _LAYER.fullmatch(name)
        part = layer.group(2) if layer else name
        if layer and int(layer.group(1)) not in origin:
            if part in _INSERTED:
                tensor.zero_()
            continue
        old_name = f"encoder.blocks.{origin[int(layer.group(1))]}.{part}" if layer else name
        _place(tensor, source[old_name], zero_rest=part in _GROWN)


def _place(target: Tensor, source: Tensor, *, zero_rest: bool) -> None:
    """Make a tensor the leading block of another; its rest keeps its start or becomes zero."""
    block = tuple(slice(0, min(a, b)) for a, b in zip(target.shape, source.shape, strict=True))
    if zero_rest:
        target.zero_()
    target[block] = source[block]
