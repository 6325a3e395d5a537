"""A supernet that starts from another holds all of its nets, and begins as the largest of them."""

import random
from typing import Any

import pytest
import torch

from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, PGNSpec
from todm.core.space import SearchSpace, spread_order
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec
from todm.models.rnnt import Transducer
from todm.models.widen import VOCABULARY, adopt, fixed_differences


def make_space(
    layers: int = 3,
    ffn: tuple[int, ...] = (8, 16),
    heads: tuple[int, ...] = (2, 4),
    modes: tuple[int, ...] = (2, 4),
    joiner: tuple[int, ...] = (6, 12),
    vocab: int = 7,
    model_dim: int = 10,
    **form: Any,
) -> SearchSpace:
    mixer = MHSSMSpec(num_heads=heads[-1], head_dim=3, state_dim=modes[-1], **form)
    largest = SubnetSpec(
        model_dim=model_dim,
        blocks=tuple(
            BlockSpec(source_layer=i, ffn_dim=ffn[-1], mixer=mixer) for i in range(layers)
        ),
        predictor=PredictorSpec(embed_dim=5),
        joiner_dim=joiner[-1],
        vocab_size=vocab,
    )
    return SearchSpace(
        largest=largest,
        depths=tuple(range(1, layers + 1)),
        depth_order=spread_order(layers),
        ffn_dims=ffn,
        heads=heads,
        state_dims=modes,
        joiner_dims=joiner,
    )


def make_net(space: SearchSpace, seed: int) -> Transducer:
    """A float64 net with everything random, statistics of features included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Transducer(space.largest).double()
        with torch.no_grad():
            for tensor in net.state_dict().values():
                tensor.add_(0.1 * torch.randn_like(tensor))
    return net


def logits(net: Transducer, spec: SubnetSpec) -> torch.Tensor:
    g = torch.Generator().manual_seed(5)
    features = torch.randn(2, 40, 80, generator=g, dtype=torch.float64)
    targets = torch.tensor([[1, 2, 3], [4, 5, 0]])
    return net.joiner.lattice(
        net.encoder(features, spec), net.predictor(targets), spec.joiner_dim
    ).detach()


OLD = make_space()
WIDER = {
    "ffn": make_space(ffn=(8, 16, 24)),
    "heads": make_space(heads=(2, 4, 6)),
    "modes": make_space(modes=(2, 4, 8)),
    "joiner": make_space(joiner=(6, 12, 18)),
    "depth": make_space(layers=5),
    "all": make_space(5, (16, 24), (2, 4, 8), (4, 6), (12, 20)),
    "none": make_space(),
}


FORMS: dict[str, dict[str, Any]] = {
    "out_glu": {},
    "head_glu": {"gating": "head_glu"},
    "pairs": {"gating": "pairs", "conv_frames": 4},
    "no gates, both ways": {"gating": "none", "backward": True},
}


def inside(new: SearchSpace, old: SearchSpace, spec: SubnetSpec) -> SubnetSpec:
    """The net of the new space that an old one became: its layers keep their rank."""
    depth = len(old.largest.blocks)
    became = dict(zip(old.kept_layers(depth), new.kept_layers(depth), strict=True))
    blocks = tuple(
        b.model_copy(update={"source_layer": became[b.source_layer]}) for b in spec.blocks
    )
    return spec.model_copy(update={"blocks": blocks})


@pytest.mark.parametrize("axis", WIDER)
def test_every_old_net_computes_what_it_did(axis: str) -> None:
    new_space = WIDER[axis]
    old, new = make_net(OLD, 1), make_net(new_space, 2)
    adopt(new, new_space, old, OLD, tokens=True)
    draw = random.Random(3)
    specs = [*OLD.named().values(), *(OLD.sample(draw) for _ in range(8))]
    for spec in specs:
        torch.testing.assert_close(
            logits(new, inside(new_space, OLD, spec)), logits(old, spec), rtol=0.0, atol=1e-13
        )


@pytest.mark.parametrize("form", FORMS)
def test_mixers_of_every_form_grow(form: str) -> None:
    """Old nets and the old largest one, in a space that is larger on every axis."""
    old_space = make_space(**FORMS[form])
    new_space = make_space(5, (16, 24), (2, 4, 8), (4, 6), (12, 20), **FORMS[form])
    if "backward" in FORMS[form]:
        old_space, new_space = looking_ahead(old_space), looking_ahead(new_space)
    old, new = make_net(old_space, 1), make_net(new_space, 2)
    adopt(new, new_space, old, old_space, tokens=True)
    draw = random.Random(3)
    for spec in [*old_space.named().values(), *(old_space.sample(draw) for _ in range(5))]:
        torch.testing.assert_close(
            logits(new, inside(new_space, old_space, spec)), logits(old, spec), rtol=0, atol=1e-13
        )
    torch.testing.assert_close(
        logits(new, new_space.largest), logits(old, old_space.largest), rtol=0, atol=1e-12
    )
    assert_learns(new, new_space)


def gated(space: SearchSpace, heads: tuple[int, ...], windows: tuple[int, ...]) -> SearchSpace:
    """The space with parallel gated networks, as mixers and as predictor."""
    mixer = PGNSpec(num_heads=heads[-1], head_dim=3, window=windows[-1])
    largest = space.largest.model_copy(
        update={
            "blocks": tuple(b.model_copy(update={"mixer": mixer}) for b in space.largest.blocks),
            "predictor": PredictorSpec(kind="pgn", embed_dim=5, context_size=3),
        }
    )
    changes = {"largest": largest, "heads": heads, "state_dims": (), "windows": windows}
    return space.model_copy(update=changes)


def test_parallel_gated_networks_grow() -> None:
    old_space = gated(make_space(), (1, 2), (2, 3))
    new_space = gated(make_space(5, (16, 24), joiner=(12, 20)), (2, 4), (3, 7))
    old, new = make_net(old_space, 1), make_net(new_space, 2)
    adopt(new, new_space, old, old_space, tokens=True)
    for spec in [*old_space.named().values(), old_space.sample(random.Random(3))]:
        found = logits(new, inside(new_space, old_space, spec))
        torch.testing.assert_close(found, logits(old, spec), rtol=0, atol=1e-13)
    found = logits(new, new_space.largest)
    torch.testing.assert_close(found, logits(old, old_space.largest), rtol=0, atol=1e-12)
    assert_learns(new, new_space)


def linear(space: SearchSpace) -> SearchSpace:
    """The space with linear state-space layers."""
    sizes = space.largest.blocks[0].mixer.model_dump(include={"num_heads", "head_dim", "state_dim"})
    mixer = LSSLSpec(**sizes)
    blocks = tuple(b.model_copy(update={"mixer": mixer}) for b in space.largest.blocks)
    return space.model_copy(update={"largest": space.largest.model_copy(update={"blocks": blocks})})


def test_linear_state_spaces_grow() -> None:
    old_space, new_space = linear(make_space()), linear(make_space(5, (16, 24), joiner=(12, 20)))
    assert (
        new_space.largest.blocks[0].mixer.state_dim >= old_space.largest.blocks[0].mixer.state_dim
    )
    old, new = make_net(old_space, 1), make_net(new_space, 2)
    adopt(new, new_space, old, old_space, tokens=True)
    for spec in [*old_space.named().values(), old_space.sample(random.Random(3))]:
        found = logits(new, inside(new_space, old_space, spec))
        torch.testing.assert_close(found, logits(old, spec), rtol=0, atol=1e-12)
    assert_learns(new, new_space)


def looking_ahead(space: SearchSpace) -> SearchSpace:
    """The space with lookahead, which the scan against time needs to be used."""
    largest = space.largest.model_copy(update={"lookahead_frames": 3})
    return space.model_copy(update={"largest": largest})


def test_nets_of_a_depth_keep_their_layers() -> None:
    """With bisecting orders an old net of any depth is the new space's own net of that depth."""
    new_space = WIDER["depth"]
    for depth in OLD.depths:
        spec = OLD.uniform(depth, 16, 4, 4, 12)
        assert inside(new_space, OLD, spec) == new_space.uniform(depth, 16, 4, 4, 12)


@pytest.mark.parametrize("axis", WIDER)
def test_the_new_largest_net_begins_as_the_old_one(axis: str) -> None:
    new_space = WIDER[axis]
    old, new = make_net(OLD, 1), make_net(new_space, 2)
    adopt(new, new_space, old, OLD, tokens=True)
    torch.testing.assert_close(
        logits(new, new_space.largest), logits(old, OLD.largest), rtol=0.0, atol=1e-12
    )


def assert_learns(net: Transducer, space: SearchSpace) -> None:
    """After two steps everything has a gradient: what is zero at first, then what lies behind."""
    for _ in range(2):
        net.zero_grad()
        g = torch.Generator().manual_seed(9)
        features = torch.randn(2, 40, 80, generator=g, dtype=torch.float64)
        enc = net.encoder(features, space.largest)
        pred = net.predictor(torch.tensor([[1, 2], [3, 4]]))
        net.joiner.lattice(enc, pred, space.largest.joiner_dim).square().mean().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.sub_(parameter.grad, alpha=0.1)
    for name, parameter in net.named_parameters():
        if name.startswith("predictor.embed"):
            continue  # of ids that the targets have
        dead = (parameter.grad == 0).flatten(1) if parameter.dim() > 1 else parameter.grad == 0
        assert not bool(dead.all(-1).any()), name


def test_what_is_new_learns() -> None:
    new_space = WIDER["all"]
    old, new = make_net(OLD, 1), make_net(new_space, 2)
    adopt(new, new_space, old, OLD, tokens=True)
    assert_learns(new, new_space)


def test_of_a_larger_net_the_leading_part_is_taken() -> None:
    large_space = WIDER["all"]
    old, new = make_net(large_space, 1), make_net(OLD, 2)
    adopt(new, OLD, old, large_space, tokens=True)
    for spec in OLD.named().values():
        torch.testing.assert_close(
            logits(new, spec), logits(old, inside(large_space, OLD, spec)), rtol=0.0, atol=1e-13
        )


def test_other_tokens_start_anew() -> None:
    new_space = make_space(vocab=9)
    old, new = make_net(OLD, 1), make_net(new_space, 2)
    fresh = {name: new.state_dict()[name].clone() for name in VOCABULARY}
    adopt(new, new_space, old, OLD, tokens=False)
    for name, tensor in new.state_dict().items():
        if name in VOCABULARY:
            assert torch.equal(tensor, fresh[name])
        else:
            assert torch.equal(tensor, old.state_dict()[name]), name


def test_what_only_training_needs_starts_anew_where_there_is_none() -> None:
    """The simple loss's projections: no artifact holds them."""
    old = make_net(OLD, 1)
    new = Transducer(OLD.largest, simple=True).double()
    assert new.simple is not None
    before = new.simple.from_encoder.weight.detach().clone()
    adopt(new, OLD, old, OLD, tokens=True)
    assert torch.equal(new.simple.from_encoder.weight, before)
    assert torch.equal(new.joiner.to_vocab.weight, old.joiner.to_vocab.weight)


def test_another_form_of_mixer_is_refused_and_step_sizes_at_birth_are_not() -> None:
    other = make_space(gating="pairs")
    assert list(fixed_differences(other.largest, OLD.largest)) == ["blocks.0.mixer.gating"]
    assert fixed_differences(make_space(dt_max=0.3).largest, OLD.largest) == {}


def test_a_size_that_does_not_grow_is_refused() -> None:
    other = make_space(model_dim=12)
    assert list(fixed_differences(other.largest, OLD.largest)) == ["model_dim"]
    with pytest.raises(ValueError, match="model_dim"):
        adopt(make_net(other, 1), other, make_net(OLD, 2), OLD, tokens=True)
