"""One tiny random subnet and its bundle, exported once per test process."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from int8_cpu import INT8

from todm.core.artifact import write_artifact
from todm.core.contract import contract_of
from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, PGNSpec
from todm.core.quantization import GateConfig, SchemeSettings
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec
from todm.core.target import target_of
from todm.decode.tokens import TokenTable
from todm.export.assure import Assurance
from todm.export.evidence import Speech
from todm.export.run import run
from todm.models.rnnt import Transducer
from todm.models.store import SPEC, load_subnet, write_model

SYMBOLS = ("<blk>", "'", *"ABCDEFGHI", "\u2581")
UNGATED = Assurance(GateConfig(drift_s=40.0), ungated=True)
"""Babble has no transcript, so nothing can judge int8's accuracy; drift is judged all the same."""
LONG = Assurance(GateConfig(drift_s=160.0), ungated=True)
"""For nets whose rounding errors take longer than the first window of 10 s to settle."""


def block(layer, ffn, heads, modes, **form):
    mixer = MHSSMSpec(num_heads=heads, head_dim=4, state_dim=modes, **form)
    return BlockSpec(source_layer=layer, ffn_dim=ffn, mixer=mixer)


def unequal_spec():
    """Layers whose FFN, heads and state sizes all differ."""
    return SubnetSpec(
        model_dim=32,
        blocks=(block(0, 48, 4, 4), block(2, 64, 8, 2), block(3, 32, 2, 8)),
        predictor=PredictorSpec(embed_dim=24),
        joiner_dim=40,
        vocab_size=len(SYMBOLS),
        chunk_frames=4,
    )


def formed_spec():
    """Every form of the mixer that the unequal net does not have, two or three to a layer."""
    blocks = (
        block(0, 48, 4, 4, gating="pairs", conv_frames=4),
        block(2, 64, 8, 2, gating="head_glu", backward=True),
        block(3, 32, 2, 8, gating="none", conv_frames=2, backward=True, dt_min=0.02, dt_max=0.3),
    )
    return unequal_spec().model_copy(update={"blocks": blocks, "lookahead_frames": 3})


def gated_spec():
    """Parallel gated networks as mixers, all unequal, and as predictor with the longest window."""
    sizes = ((0, 48, 4, 6), (2, 64, 8, 16), (3, 32, 3, 1))
    blocks = tuple(
        BlockSpec(
            source_layer=layer,
            ffn_dim=ffn,
            mixer=PGNSpec(num_heads=heads, head_dim=4, window=window),
        )
        for layer, ffn, heads, window in sizes
    )
    predictor = PredictorSpec(kind="pgn", embed_dim=24, context_size=5)
    return unequal_spec().model_copy(update={"blocks": blocks, "predictor": predictor})


def linear_spec():
    """Linear state-space layers, all unequal, of every way to train."""
    mixers = (
        LSSLSpec(num_heads=4, head_dim=4, state_dim=4),
        LSSLSpec(num_heads=7, head_dim=4, state_dim=2, learn="fixed", gating="none"),
        # a LagT that is slow as well as long would settle after minutes only (docs/lssl.md)
        LSSLSpec(
            num_heads=2, head_dim=4, state_dim=9, learn="dt", state="lagt", alpha=1.0, dt_min=0.1
        ),
    )
    blocks = tuple(
        block.model_copy(update={"mixer": mixer})
        for block, mixer in zip(unequal_spec().blocks, mixers, strict=True)
    )
    return unequal_spec().model_copy(update={"blocks": blocks})


@torch.no_grad()
def random_model(seed=2, spec=None):
    """Random weights, scaled so that many different tokens come out."""
    torch.manual_seed(seed)
    model = Transducer(spec or unequal_spec()).eval()
    model.encoder.front.mean.fill_(-8.0)
    model.encoder.front.istd.fill_(0.25)
    model.joiner.from_encoder.weight.mul_(4.0)
    model.joiner.from_predictor.weight.mul_(4.0)
    history = (
        model.predictor.conv
        if spec is None or spec.predictor.kind == "stateless"
        else (model.predictor.pgn.taps)
    )
    history.mul_(2.0)
    model.joiner.to_vocab.weight.mul_(4.0)
    model.joiner.to_vocab.bias[0] += 2.0
    # Fresh norms are all alike: a mix-up would not show, and exporters store equal tensors once.
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.weight.add_(0.05 * torch.randn_like(module.weight))
            module.bias.add_(0.05 * torch.randn_like(module.bias))
    for name, weight in model.named_parameters():
        if name.endswith(".taps"):  # at birth they pass the signal through
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def babble(seconds, seed):
    """Harmonic sounds of random pitch, length and level, with noise: nothing repeats."""
    draw = np.random.default_rng(seed)
    parts, have = [], 0
    while have < seconds * 16000:
        size = int(draw.integers(1600, 5600))
        time_S = np.arange(size) / 16000
        pitch_hz, level = draw.uniform(90, 320), draw.uniform(0.02, 0.3)
        weights = draw.uniform(0, 1, 12) ** 3
        sound_S = sum(
            w * np.sin(2 * np.pi * pitch_hz * (k + 1) * time_S) for k, w in enumerate(weights)
        )
        parts.append(level * sound_S / 4 + 0.01 * draw.standard_normal(size))
        have += size
    return np.concatenate(parts)[: int(seconds * 16000)].astype(np.float32)


def recordings():
    return [babble(8.0 + 0.137 * seed, seed) for seed in range(8)]


SPEECH = Speech(recordings(), "synthetic babble")


def write_subnet(path, model):
    table = TokenTable(unit="char", symbols=SYMBOLS)
    with write_artifact(path, kind="subnet") as draft:
        write_model(draft, model, table)
        model.spec.write_json(draft.path / SPEC)
        draft.body = {"corpus_path": "/nowhere/corpus"}
    return path


@cache
def made(spec=None, seed=2, assurance=UNGATED):
    """Export both forms of a tiny subnet; takes tens of seconds, once for each net."""
    folder = Path(tempfile.mkdtemp(prefix="todm-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.set_num_threads(1)
    subnet = write_subnet(folder / "subnet", random_model(seed, spec))
    onnx = target_of("onnx", settings=SchemeSettings(onnx_int8=INT8)).model_copy(
        update={"features": True}
    )
    targets = (onnx, target_of("executorch"))
    artifact = run(subnet, targets, SPEECH, folder / "bundle", assurance=assurance)
    opened = load_subnet(subnet)
    return SimpleNamespace(
        subnet=subnet,
        bundle=artifact.path,
        artifact=artifact,
        model=opened.model,
        spec=opened.spec,
        table=opened.table,
        contract=contract_of(opened.spec, opened.table.unit),
        audio=SPEECH.recordings,
    )
