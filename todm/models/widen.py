"""Starting a supernet from the weights of another: slicing backwards.

Every tensor of the old net becomes the leading block of the new one's, and its layers become those
that a net of its depth keeps in the new space (rule 2 of the architecture), so each old subnet
stands inside the new supernet and computes what it did. What is new starts where it adds nothing:
the weights that carry its outputs back are zero (function-preserving growth: Chen et al. 2016,
Net2Net, arXiv 1511.05641), so the wider nets begin as the old largest one too and learn from there.
"""

import re

import torch
from torch import Tensor, nn

from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.models.rnnt import Transducer
from todm.models.store import TRAINING_ONLY

VOCABULARY = ("predictor.embed.weight", "joiner.to_vocab.weight", "joiner.to_vocab.bias")
"""What speaks of single tokens; it starts anew when they are others."""

_AT_BIRTH = ("dt_min", "dt_max")
"""What a mixer's spec says of fresh weights only."""
_LAYER = re.compile(r"encoder\.blocks\.(\d+)\.(.+)")
_GROWN = (
    "mixer.taps",
    "mixer.w_value.weight",
    "mixer.w_gate.weight",
    "mixer.w_candidate.weight",
    "mixer.w_out.weight",
    "mixer.c",
    "mixer.ahead.c",
    "ffn_out.weight",
    "joiner.to_vocab.weight",
)
"""Tensors whose new columns carry new channels and modes to what was there: these are zero."""


def fixed_differences(new: SubnetSpec, old: SubnetSpec) -> dict[str, tuple[object, object]]:
    """Return the sizes and forms that do not grow and differ all the same: new and old by name."""
    pairs: dict[str, tuple[object, object]] = {
        name: (getattr(new, name), getattr(old, name))
        for name in ("front", "model_dim", "predictor")
    }
    forms = (new.blocks[0].mixer.fixed(), old.blocks[0].mixer.fixed())
    for name in sorted(set(forms[0]) | set(forms[1])):
        if name not in _AT_BIRTH:
            pairs[f"blocks.0.mixer.{name}"] = (forms[0].get(name), forms[1].get(name))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


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
    source, target = old.state_dict(), model.state_dict()
    for name, tensor in target.items():
        if not tokens and (name in VOCABULARY or name.startswith(TRAINING_ONLY)):
            continue
        layer = _LAYER.fullmatch(name)
        part = layer.group(2) if layer else name
        if layer and int(layer.group(1)) not in origin:
            continue
        old_name = f"encoder.blocks.{origin[int(layer.group(1))]}.{part}" if layer else name
        if old_name in source:  # no artifact holds what only training needs
            _place(tensor, source[old_name], grown=part in _GROWN)
    for layer_name, block in model.encoder.blocks.items():
        if int(layer_name) not in origin:
            _silence(block)


def _place(target: Tensor, source: Tensor, *, grown: bool) -> None:
    """Make a tensor the leading block of another; the rest keeps its start.

    Where it has ``grown``, the new columns of the old rows become zero.
    """
    block = tuple(slice(0, min(a, b)) for a, b in zip(target.shape, source.shape, strict=True))
    if grown:
        target[block[0]] = 0.0
    target[block] = source[block]


def _silence(block: nn.Module) -> None:
    """Let an inserted layer add nothing to its input: its two last maps are zero."""
    state = block.state_dict()
    last = "mixer.w_out" if "mixer.w_out.weight" in state else "mixer.w_value"
    for name in (last, "ffn_out"):
        state[f"{name}.weight"].zero_()
        state[f"{name}.bias"].zero_()
