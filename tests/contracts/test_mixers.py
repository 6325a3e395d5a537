"""The battery of every sequence mixer: a new one adds one line to ``MIXER_CASES``."""

import copy
from typing import get_args

import pytest
import torch
from torch import Tensor

from todm.core.contract import state_parts
from todm.core.cost_mixers import TOEPLITZ_MAX_FRAMES
from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, MixerSpec, PGNSpec
from todm.core.specs import BlockSpec, FrontSpec, PredictorSpec, SubnetSpec
from todm.layers.block import Block
from todm.layers.mhssm import MHSSM
from todm.layers.mixer import Lookahead
from todm.models.rnnt import Transducer
from todm.models.slicing import slice_weights


def mhssm(**form: object) -> tuple[MHSSMSpec, MHSSMSpec]:
    whole = MHSSMSpec.model_validate({"num_heads": 6, "head_dim": 3, "state_dim": 5, **form})
    return whole, whole.model_copy(update={"num_heads": 4, "state_dim": 2})


def pgn() -> tuple[PGNSpec, PGNSpec]:
    whole = PGNSpec(num_heads=5, head_dim=3, window=10)
    return whole, whole.model_copy(update={"num_heads": 2, "window": 4})


def lssl(**form: object) -> tuple[LSSLSpec, LSSLSpec]:
    whole = LSSLSpec.model_validate({"num_heads": 5, "head_dim": 3, "state_dim": 6, **form})
    return whole, whole.model_copy(update={"num_heads": 3, "state_dim": 2})


# each mixer at its largest, a smaller one that its prefix must hold, and the net's lookahead
MIXER_CASES = {
    "mhssm": (*mhssm(), 0),
    "mhssm-backward": (*mhssm(backward=True), 2),
    "mhssm-backward-causal": (*mhssm(backward=True), 0),
    "mhssm-conv": (*mhssm(conv_frames=4), 0),
    "mhssm-conv-backward": (*mhssm(conv_frames=2, backward=True), 2),
    "mhssm-head-glu": (*mhssm(gating="head_glu"), 0),
    "mhssm-pairs": (*mhssm(gating="pairs"), 0),
    "mhssm-no-gate": (*mhssm(gating="none"), 0),
    "pgn": (*pgn(), 0),
    "lssl": (*lssl(), 0),
    "lssl-fixed": (*lssl(learn="fixed"), 0),
    "lssl-dt": (*lssl(learn="dt", gating="none", alpha=1.0), 0),
    "lssl-lagt": (*lssl(state="lagt"), 0),
}
MODEL_DIM, FFN_DIM = 12, 16
TEN_MINUTES_FRAMES = 15_000  # of 40 ms

each_mixer = pytest.mark.parametrize(
    ("mixer", "smaller", "lookahead"), MIXER_CASES.values(), ids=MIXER_CASES.keys()
)


def block_spec(mixer: MixerSpec, layer: int = 0) -> BlockSpec:
    return BlockSpec(source_layer=layer, ffn_dim=FFN_DIM, mixer=mixer)


def net_spec(*mixers: MixerSpec, lookahead: int = 0) -> SubnetSpec:
    return SubnetSpec(
        front=FrontSpec(feature_dim=8, channels=(2, 3)),
        model_dim=MODEL_DIM,
        blocks=tuple(block_spec(mixer, layer) for layer, mixer in enumerate(mixers)),
        predictor=PredictorSpec(embed_dim=6),
        joiner_dim=8,
        vocab_size=5,
        chunk_frames=lookahead + 1,
        lookahead_frames=lookahead,
    )


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Move every weight off its initial value: equal heads, zero biases would hide mistakes."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            noise = torch.randn(p.shape, generator=g)
            p.add_(0.2 * noise) if p.dim() < 2 else p.copy_(0.5 * p + 0.2 * noise)
    return module.eval()


def make_block(mixer: MixerSpec) -> Block:
    torch.manual_seed(1)
    block = shaken(Block(MODEL_DIM, block_spec(mixer)))
    assert isinstance(block, Block)
    return block


def make_input(frames: int, batch: int = 2, width: int = MODEL_DIM) -> Tensor:
    return torch.randn(batch, frames, width, generator=torch.Generator().manual_seed(frames))


def test_every_mixer_has_its_case() -> None:
    kinds = set(get_args(MixerSpec)) or {MixerSpec}
    assert {type(largest) for largest, _, _ in MIXER_CASES.values()} == kinds


@each_mixer
def test_no_output_depends_on_frames_beyond_its_block(mixer, smaller, lookahead) -> None:
    """Of a causal net the block is the frame itself."""
    block = make_block(mixer)
    x = make_input(9, batch=1).requires_grad_()
    y = block(x, block_spec(mixer), None, Lookahead(lookahead))
    for frame in range(9):
        end = (frame // (lookahead + 1) + 1) * (lookahead + 1)
        (grad,) = torch.autograd.grad(y[0, frame].sum(), x, retain_graph=True)
        assert float(grad[0, end:].abs().sum()) == 0.0
        reached = grad[0, :end].abs().sum(-1)
        assert bool((reached > 0.0).all())  # and the past is not forgotten


@each_mixer
def test_no_output_of_a_long_input_depends_on_later_blocks(mixer, smaller, lookahead) -> None:
    """An FFT leaks its rounding error, 1e-16 here, and no more."""
    block = make_block(mixer).double()
    frames = TOEPLITZ_MAX_FRAMES + 50
    x = make_input(frames, batch=1).double().requires_grad_()
    y = block(x, block_spec(mixer), None, Lookahead(lookahead))
    for frame in (0, 100, frames - 5):
        end = (frame // (lookahead + 1) + 1) * (lookahead + 1)
        (grad,) = torch.autograd.grad(y[0, frame].square().sum(), x, retain_graph=True)
        assert float(grad[0, end:].abs().max()) <= 1e-13 * float(grad.abs().max())


@each_mixer
@pytest.mark.parametrize("blocks", [1, 3, 8, 16, 48])
def test_streaming_equals_offline_for_every_chunk(mixer, smaller, lookahead, blocks: int) -> None:
    """Of whole blocks: of a causal net any number of frames."""
    frames, chunk_frames = 48 * (lookahead + 1), blocks * (lookahead + 1)
    spec = net_spec(mixer, smaller, lookahead=lookahead)
    net = Transducer(spec)
    encoder = shaken(net).double().encoder
    features = make_input(4 * frames, width=8).double()
    offline = encoder(features, spec)
    state = torch.zeros(2, spec.state_floats).double()
    assert sum(part.num_floats for part in state_parts(spec)) == spec.state_floats
    outputs = []
    for part in features.split(4 * chunk_frames, 1):
        y, state = encoder.step(part, state, spec, encoder.folds(spec, chunk_frames))
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), offline, rtol=1e-12, atol=1e-12)


@each_mixer
@torch.no_grad()
def test_streaming_does_not_drift_over_ten_minutes(mixer, smaller, lookahead) -> None:
    """The float32 error of the last minute is no more than three times that of the first."""
    chunk_frames = 40 * (lookahead + 1)
    wide = make_block(mixer).double()
    narrow = copy.deepcopy(wide).float()
    x = make_input(TEN_MINUTES_FRAMES, batch=1)
    want = wide(x.double(), block_spec(mixer), None, Lookahead(lookahead))
    fold = wide.mixer.fold(mixer, chunk_frames, lookahead)
    constants = type(fold)(*(part.float() for part in fold))
    states = tuple(torch.zeros(1, *shape) for shape in mixer.state_shapes().values())
    outputs = []
    for part in x.split(chunk_frames, 1):
        y, states = narrow.step(part, states, block_spec(mixer), constants)
        outputs.append(y)
    error_T = (torch.cat(outputs, 1).double() - want).abs().amax((0, 2))
    tenth = TEN_MINUTES_FRAMES // 10
    first, last = float(error_T[:tenth].max()), float(error_T[-tenth:].max())
    assert 0.0 < last <= 3.0 * first
    assert first <= 1e-5 * float(want.abs().max())


@each_mixer
def test_a_smaller_mixer_is_a_prefix_of_the_larger(mixer, smaller, lookahead) -> None:
    """Weights bit for bit, outputs in float64; the mixers of one net may differ."""
    supernet = shaken(Transducer(net_spec(mixer, mixer, mixer, lookahead=lookahead))).double()
    assert isinstance(supernet, Transducer)
    spec = net_spec(smaller, mixer, smaller, lookahead=lookahead)
    twin = slice_weights(supernet, spec)
    whole = supernet.state_dict()
    for name, tensor in twin.state_dict().items():
        assert torch.equal(tensor, whole[name][tuple(slice(0, n) for n in tensor.shape)])
    features = make_input(80, width=8).double()
    torch.testing.assert_close(
        twin.encoder(features, spec), supernet.encoder(features, spec), rtol=1e-12, atol=1e-12
    )


@each_mixer
@pytest.mark.parametrize("frames", [1, 20, TOEPLITZ_MAX_FRAMES + 1])
def test_gradients_are_finite_and_reach_every_weight(
    mixer, smaller, lookahead, frames: int
) -> None:
    block = make_block(mixer)
    for spec in (mixer, smaller):
        block.zero_grad()
        y = block(make_input(frames), block_spec(spec), None, Lookahead(lookahead))
        y.square().mean().backward()
        for name, p in block.named_parameters():
            if name.startswith("mixer.ahead.") and lookahead == 0:
                assert p.grad is None, name  # a causal net does not ask for it
                continue
            assert p.grad is not None, name
            assert bool(torch.isfinite(p.grad).all()), name


@each_mixer
def test_a_recording_sees_nothing_of_its_padding(mixer, smaller, lookahead) -> None:
    spec = net_spec(mixer, smaller, lookahead=lookahead)
    encoder = shaken(Transducer(spec)).double().encoder
    features, lens = make_input(4 * 11, width=8).double(), torch.tensor([11, 7])
    features[1, 4 * 7 :] = 50.0
    batch = encoder(features, spec, frame_lens_B=lens)
    for row, n in enumerate(lens.tolist()):
        alone = encoder(features[row : row + 1, : 4 * n], spec)
        torch.testing.assert_close(batch[row, :n], alone[0], rtol=1e-12, atol=1e-12)


@each_mixer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(mixer, smaller, lookahead, dtype: torch.dtype) -> None:
    block = make_block(mixer).to(dtype)
    for frames in (5, TOEPLITZ_MAX_FRAMES + 1):
        y = block(make_input(frames).to(dtype), block_spec(smaller), None, Lookahead(lookahead))
        assert y.dtype == dtype


@each_mixer
@pytest.mark.parametrize("frames", [20, TOEPLITZ_MAX_FRAMES + 1])
def test_autocast_stays_near_float32(mixer, smaller, lookahead, frames: int) -> None:
    block, x = make_block(mixer), make_input(frames)
    want = block(x, block_spec(mixer), None, Lookahead(lookahead))
    with torch.autocast("cpu", torch.bfloat16):
        found = block(x, block_spec(mixer), None, Lookahead(lookahead))
    assert found.dtype == torch.float32
    # bfloat16 holds 8 bits: 0.4 % a product, some products deep
    assert float((found - want).detach().abs().max()) <= 0.05 * float(want.detach().abs().max())


@pytest.mark.parametrize("num_heads", [2, 4, 8, 12, 16])
@pytest.mark.parametrize("limits", [(0.01, 0.5), (0.001, 0.1)])
def test_a_prefix_of_heads_covers_the_timescales(num_heads: int, limits) -> None:
    """Both ends, and no gap wider than twice an even spacing (and a grid step for rounding)."""
    spec = MHSSMSpec(
        num_heads=16, head_dim=2, state_dim=3, dt_min=limits[0], dt_max=limits[1], backward=True
    )
    mixer = MHSSM(MODEL_DIM, spec)
    kept = mixer.log_dt.detach()[:num_heads].sort().values
    low, high = torch.tensor(limits).log()
    assert torch.equal(mixer.ahead.log_dt, mixer.log_dt)
    torch.testing.assert_close(kept[[0, -1]], torch.stack([low, high]))
    gap = (high - low) / (num_heads - 1)
    assert float(kept.diff().max()) <= float(2.0 * gap + (high - low) / 15)
    assert bool((mixer.im.detach().diff(dim=1) > 0.0).all())  # a prefix of modes: the slow ones


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({"conv_frames": 1}, "conv_frames 1 mixes nothing"),
        ({"dt_min": 0.5}, "dt_min 0.5 must be below dt_max 0.5"),
        ({"gating": "both"}, "out_glu"),
        ({"num_heads": 3}, "multiple of 2"),
    ],
)
def test_forms_that_do_not_exist_are_refused(form, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mhssm(**form)


def test_at_birth_the_convolution_passes_everything_through() -> None:
    plain, conv = mhssm()[0], mhssm(conv_frames=4)[0]
    outputs = []
    for spec in (plain, conv):
        torch.manual_seed(0)
        outputs.append(Block(MODEL_DIM, block_spec(spec))(make_input(9), block_spec(spec), None))
    torch.testing.assert_close(*outputs)
