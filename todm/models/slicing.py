"""Extraction as slicing: the dense twin of a subnet, bit for bit the supernet's weights."""

import torch

from todm.core.specs import SubnetSpec
from todm.models.rnnt import Transducer


def slice_weights(supernet: Transducer, spec: SubnetSpec) -> Transducer:
    """Return the dense network of ``spec``, each tensor the leading block of the supernet's.

    Raises:
        ValueError: the spec does not fit inside the supernet.
    """
    _check_fixed_axes(supernet.spec, spec)
    twin = Transducer(spec)
    source = supernet.state_dict()
    sliced = {}
    for name, tensor in twin.state_dict().items():
        if name not in source or any(
            have < want for have, want in zip(source[name].shape, tensor.shape, strict=True)
        ):
            raise ValueError(f"{spec.short_name} does not fit in the supernet at {name}")
        block = tuple(slice(0, size) for size in tensor.shape)
        sliced[name] = source[name][block].clone().contiguous()
    dtype = next(iter(supernet.parameters())).dtype
    twin = twin.to(dtype)
    twin.load_state_dict(sliced)
    return twin.train(supernet.training)


def _check_fixed_axes(whole: SubnetSpec, spec: SubnetSpec) -> None:
    """Refuse a spec that differs where nets do not shrink: its blocks would be no trained net."""
    fixed = ("front", "model_dim", "predictor", "vocab_size")
    wrong = [name for name in fixed if getattr(spec, name) != getattr(whole, name)]
    if any(block.mixer.fixed() != whole.blocks[0].mixer.fixed() for block in spec.blocks):
        wrong.append("the mixers, but for " + " and ".join(whole.blocks[0].mixer.elastic))
    if wrong:
        raise ValueError(
            f"{spec.short_name} does not fit in the supernet: "
            f"{', '.join(wrong)} must equal the supernet's"
        )


def num_parameters(model: torch.nn.Module) -> int:
    """Return the number of trainable scalars."""
    return sum(p.numel() for p in model.parameters())
