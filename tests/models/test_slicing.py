"""The dense twin of a subnet: the supernet's leading blocks bit for bit, and the same outputs."""

import copy
import random

import pytest
import torch

from todm.core.specs import FrontSpec, PredictorSpec, SubnetSpec
from todm.models.rnnt import Transducer
from todm.models.slicing import num_parameters, slice_weights
from todm.recipes import recipe

SPACE = recipe("tiny", 7).space
NUM_SAMPLED = 10


def sampled_specs() -> list[SubnetSpec]:
    """The ends, and sampled nets of which every one with two layers or more is unequal."""
    generator = random.Random(0)
    specs = [SPACE.smallest, SPACE.middle]
    while len(specs) < NUM_SAMPLED:
        spec = SPACE.sample(generator)
        kinds = {(b.ffn_dim, b.mixer) for b in spec.blocks}
        if spec not in specs and len(kinds) == len(spec.blocks) > 1:
            specs.append(spec)
    return specs


@pytest.fixture(scope="module")
def supernet() -> Transducer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Transducer(SPACE.largest).eval()
        for p in net.parameters():  # biases and skips start equal: a wrong row would not show
            p.data.add_(0.1 * torch.randn(p.shape))
        net.encoder.front.mean.normal_()
        net.encoder.front.istd.uniform_(0.5, 2.0)
    return net


each_spec = pytest.mark.parametrize("spec", sampled_specs(), ids=lambda s: s.short_name)


def test_sampled_specs_differ_in_every_axis() -> None:
    axes = [spec.axes() for spec in sampled_specs()]
    for name in axes[0]:
        assert len({str(a[name]) for a in axes}) > 1 or name == "lookahead"  # the space is causal


@each_spec
def test_weights_are_the_leading_blocks(supernet: Transducer, spec: SubnetSpec) -> None:
    whole, dense = supernet.state_dict(), slice_weights(supernet, spec).state_dict()
    kept = {f"encoder.blocks.{b.source_layer}." for b in spec.blocks}
    for name, tensor in whole.items():
        if name.startswith("encoder.blocks.") and not any(map(name.startswith, kept)):
            assert name not in dense
            continue
        block = tensor[tuple(slice(0, n) for n in dense[name].shape)]
        assert torch.equal(dense[name], block), name
        assert dense[name].is_contiguous()
        assert dense[name].data_ptr() != tensor.data_ptr()


@each_spec
@pytest.mark.parametrize(
    # float32: a strided view and its copy may take different matrix products, 1e-7 each
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5)],
)
def test_outputs_equal_those_inside_the_supernet(
    supernet: Transducer, spec: SubnetSpec, dtype: torch.dtype, tolerance: float
) -> None:
    g = torch.Generator().manual_seed(1)
    features = torch.randn(2, 61, 80, generator=g).to(dtype)
    targets = torch.randint(1, 7, (2, 4), generator=g)
    outputs = []
    whole = copy.deepcopy(supernet).to(dtype)
    for net in (slice_weights(whole, spec), whole):
        enc = net.encoder(features, spec)
        logits = net.joiner.lattice(enc, net.predictor(targets), spec.joiner_dim)
        outputs.append((enc, net.encode(features, spec), net.predict(targets[:, :2], spec), logits))
    for mine, want in zip(*outputs, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, want, rtol=tolerance, atol=tolerance)


def test_the_whole_space_fits_and_parameters_shrink(supernet: Transducer) -> None:
    sizes = [num_parameters(slice_weights(supernet, s)) for s in SPACE.named().values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == num_parameters(supernet)
    assert sizes[-1] < 0.8 * sizes[0]  # the front end is in all of them


def _wider(spec: SubnetSpec, **update: int) -> SubnetSpec:
    first, *rest = spec.blocks
    mixer = {k: v for k, v in update.items() if k in type(first.mixer).model_fields}
    own = {k: v for k, v in update.items() if k not in mixer}
    changed = first.model_copy(update={**own, "mixer": first.mixer.model_copy(update=mixer)})
    return spec.model_copy(update={"blocks": (changed, *rest)})


SMALL = SPACE.smallest
UNFIT = {
    "heads": _wider(SMALL, num_heads=6),
    "modes": _wider(SMALL, state_dim=5),
    "ffn": _wider(SMALL, ffn_dim=33),
    "layer": _wider(SMALL, source_layer=3),
    "joiner": SMALL.model_copy(update={"joiner_dim": 17}),
    # these would fit as shapes, but leading blocks of them are no net that was trained
    "head_dim": _wider(SMALL, head_dim=2),
    "model_dim": SMALL.model_copy(update={"model_dim": 8}),
    "vocabulary": SMALL.model_copy(update={"vocab_size": 5}),
    "embedding": SMALL.model_copy(update={"predictor": PredictorSpec(embed_dim=8)}),
    "context": SMALL.model_copy(update={"predictor": PredictorSpec(embed_dim=16, context_size=1)}),
    "front": SMALL.model_copy(update={"front": FrontSpec(channels=(8, 32))}),
}


@pytest.mark.parametrize("case", UNFIT)
def test_refuses_what_does_not_fit(supernet: Transducer, case: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        slice_weights(supernet, UNFIT[case])


def test_another_chunk_is_no_other_net(supernet: Transducer) -> None:
    spec = SMALL.model_copy(update={"chunk_frames": 3})
    assert slice_weights(supernet, spec).spec == spec
