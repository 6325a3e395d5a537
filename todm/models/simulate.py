"""A recogniser whose linears compute as an int8 export of it does, for training and scoring.

Layers are called as the gate of an export calls them: part and module of the exported graphs,
``encoder.blocks.1.ffn_out``, where blocks are counted as they are kept.
"""

import copy
from typing import assert_never

from torch import nn

from todm.core.errors import ConfigError
from todm.core.finetune_config import SimulatedScheme
from todm.core.quantization import Float32, OnnxDynamicInt8, XnnpackDynamicInt8
from todm.layers.fake_quant import FakeQuantLinear, IntegerGrid
from todm.models.rnnt import Transducer

PREDICTOR_GATE = "decoder.predictor.gate"
"""A linear of the exported parallel gated predictor alone: while it trains it is a product of
another shape, and stays float."""


def linears(model: Transducer) -> dict[str, str]:
    """Return the module path of every linear by its name in an export."""
    paths = {name for name, child in model.named_modules() if isinstance(child, nn.Linear)}
    kept = {f"encoder.blocks.{block.source_layer}": i for i, block in enumerate(model.spec.blocks)}
    found = {
        "encoder.to_joiner": "joiner.from_encoder",
        "decoder.to_joiner": "joiner.from_predictor",
        "joiner.to_vocab": "joiner.to_vocab",
    }
    for path in sorted(path for path in paths if path.startswith("encoder.")):
        block = ".".join(path.split(".")[:3])
        place = f"encoder.blocks.{kept[block]}" if block in kept else block
        found[place + path.removeprefix(block)] = path
    return found


def simulated(model: Transducer, scheme: SimulatedScheme) -> Transducer:
    """Return a recogniser of the model's very weights that computes as the scheme does.

    A step of its weights is one of the model's. float32 gives the model itself.

    Raises:
        ConfigError: a fallback is no linear of the model.
    """
    names = linears(model)
    known = [*names, PREDICTOR_GATE] if model.spec.predictor.kind == "pgn" else [*names]
    unknown = [name for name in scheme.fallbacks if name not in known]
    if unknown:
        raise ConfigError(
            f"scheme.fallbacks: no linear {unknown[0]!r}; there are {', '.join(known)}"
        )
    if isinstance(scheme, Float32):
        return model
    own = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, dict(own))
    for name, path in names.items():
        if name not in scheme.fallbacks:
            rows = model.spec.chunk_frames if name.startswith("encoder.") else 1
            owner, _, leaf = path.rpartition(".")
            layer = twin.get_submodule(path)
            assert isinstance(layer, nn.Linear)
            setattr(twin.get_submodule(owner), leaf, FakeQuantLinear(layer, _grid(scheme), rows))
    return twin


def _grid(scheme: OnnxDynamicInt8 | XnnpackDynamicInt8) -> IntegerGrid:
    """Return the grid of a scheme's weights, as its quantizer takes it."""
    match scheme:
        case XnnpackDynamicInt8():
            return IntegerGrid(-127, 127, symmetric=True)
        case OnnxDynamicInt8(weight_type="QUInt8"):
            return IntegerGrid(0, 127 if scheme.reduce_range else 255, symmetric=False)
        case OnnxDynamicInt8():
            limit = 64 if scheme.reduce_range else 127
            return IntegerGrid(-limit, limit, symmetric=True)
        case _:
            assert_never(scheme)
