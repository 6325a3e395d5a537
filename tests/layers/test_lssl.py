"""The stand-alone layer: its views, another sampling rate, what trains, what is refused."""

import math

import pytest
import torch
from torch import Tensor

from todm.core.errors import ConfigError
from todm.core.lssl import LSSLLayerSpec
from todm.kernels.hippo import Transition, legs
from todm.kernels.lssl import krylov, lssl_conv, lssl_kernel
from todm.layers.lssl import LSSL

FEATURES = 3
CHOICES = {
    "fixed": {"learn": "fixed"},
    "dt": {"learn": "dt"},
    "dt_a": {"learn": "dt_a"},
    "one-each": {"learn": "dt_a", "per_feature": True},
    "lagt": {"state": "lagt", "learn": "dt_a", "alpha": 1.0},
    "legt": {"state": "legt", "learn": "dt"},
    "legt-trained": {"state": "legt", "learn": "dt_a", "full_t": True},
    "full-t": {"learn": "dt_a", "full_t": True},
    "random": {"state": "random", "learn": "dt"},
    "random-fixed": {"state": "random", "learn": "fixed"},
}
each_choice = pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())


def make(seed: int = 0, **choice: object) -> LSSL:
    torch.manual_seed(seed)
    base = {"state_dim": 6, "num_outputs": 2, "dt_min": 0.001, "dt_max": 0.1}
    return LSSL(FEATURES, LSSLLayerSpec.model_validate(base | choice))


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def streamed(layer: LSSL, u_BTH: Tensor, chunk: int) -> Tensor:
    state, outputs = layer.zero_state(u_BTH.shape[0]), []
    fold = layer.fold(chunk)
    for part in u_BTH.split(chunk, 1):
        y, state = layer.step(part, state, fold)
        outputs.append(y)
    return torch.cat(outputs, 1)


@each_choice
@torch.no_grad()
def test_streaming_equals_whole_sequences(choice) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        layer, u = make(**choice).to(dtype), noise(2, 96, FEATURES).to(dtype)
        want = layer(u)
        assert want.shape == (2, 96, FEATURES * 2)
        for chunk in (1, 3, 16, 96):
            assert float((streamed(layer, u, chunk) - want).abs().max()) <= tolerance * float(
                want.abs().max()
            )


@each_choice
def test_what_is_to_train_gets_finite_gradients_and_nothing_else_is_a_parameter(choice) -> None:
    layer = make(**choice)
    layer(noise(2, 50, FEATURES)).square().mean().backward()
    for name, p in layer.named_parameters():
        assert p.grad is not None, name
        assert bool(torch.isfinite(p.grad).all()), name
        assert bool(p.grad.abs().sum() > 0), name
    names = {name.rpartition(".")[2] for name, _ in layer.named_parameters()}
    learn = choice["learn"]
    assert ("log_dt" in names) == (learn != "fixed")
    assert ("log_p" in names) == (learn == "dt_a")
    assert names >= {"c", "d"}


def test_outputs_of_a_feature_lie_side_by_side_and_features_do_not_mix() -> None:
    layer, u = make(), noise(1, 20, FEATURES)
    changed = u.clone()
    changed[..., 1] += 1.0
    moved_X = (layer(changed) - layer(u)).abs().amax((0, 1))
    assert (moved_X > 1e-5).tolist() == [False, False, True, True, False, False]


def test_a_fixed_kernel_is_made_once_and_made_anew_after_a_change() -> None:
    layer, u = make(learn="fixed"), noise(1, 60, FEATURES)
    first = layer(u)
    kept = layer.dynamics._cached
    assert torch.equal(layer(u[:, :20]), layer(u[:, :20]))
    assert layer.dynamics._cached is kept
    other = make(seed=5, learn="fixed")
    layer.load_state_dict(other.state_dict())
    torch.testing.assert_close(layer(u), other(u))
    layer.load_state_dict(make(learn="fixed").state_dict())
    torch.testing.assert_close(layer(u), first)
    layer.set_rate(2.0)
    assert not torch.allclose(layer(u), first)
    layer.set_rate(1.0)
    torch.testing.assert_close(layer(u), first)


@pytest.mark.parametrize("learn", ["fixed", "dt_a"])
def test_training_goes_on_after_a_longer_evaluation(learn: str) -> None:
    """What an evaluation in inference mode keeps may be asked for by a training step."""
    layer, u = make(learn=learn), noise(2, 40, FEATURES)
    layer(u[:, :30]).square().sum().backward()
    want = layer.c.grad.clone()
    with torch.inference_mode():
        layer(u)
    layer.zero_grad()
    layer(u[:, :30]).square().sum().backward()
    torch.testing.assert_close(layer.c.grad, want)


def band_limited(frames: int) -> Tensor:
    """Sums of slow sines, (1, T, H), at most 3.6 % of half the lower rate.

    The bilinear rule bends frequencies: by hand, with cycles up to 25, 50, 100 and 200 of 250 the
    error with the rule is 3.2, 3.8, 6.6 and 13.7 %.
    """
    t_T1 = torch.arange(frames).double()[:, None] / frames
    phase = noise(9, FEATURES, seed=3).double()
    waves = [torch.sin(2 * math.pi * k * t_T1 + phase[k - 1]) for k in range(1, 10)]
    return torch.stack(waves).sum(0)[None]


@pytest.mark.parametrize("learn", ["fixed", "dt", "dt_a"])
@torch.no_grad()
def test_half_the_rate_needs_twice_the_step(learn: str) -> None:
    """Relative rms to the full-rate output: under 3 % with the rule, above 40 % without.

    D, which no rate changes, is left out: it would only make both errors smaller. Both with the
    convolution and streaming; a step changed in Abar alone, as published code has it, halves the
    output.
    """
    layer = make(state_dim=16, learn=learn, dt_min=0.002, dt_max=0.05).double()
    layer.d.zero_()
    u = band_limited(1000)
    want = layer(u)[:, ::2]
    half = u[:, ::2]

    def relative_rms(found: Tensor) -> float:
        return float((found - want).square().mean().sqrt() / want.square().mean().sqrt())

    assert relative_rms(layer(half)) > 0.4
    layer.set_rate(2.0)
    assert relative_rms(layer(half)) < 0.03
    assert relative_rms(streamed(layer, half, 20)) < 0.03
    steps = layer.dynamics.steps()
    published = steps._replace(b_HN=steps.b_HN / 2)  # Bbar with the step of before
    k_HMT = lssl_kernel(layer.readout, krylov(published, half.shape[1]))
    assert relative_rms(lssl_conv(half, k_HMT).flatten(2)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_no_positive_number_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="is no positive number"):
        make().set_rate(rate)


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ({"state_dim": 0}, "state_dim.*greater than or equal to 1"),
        ({"dt_min": 0.0}, "dt_min.*greater than 0"),
        ({"dt_min": 0.2}, r"dt_min 0\.2 must be below dt_max 0\.1"),
        ({"dt_max": math.inf}, "dt_max.*finite"),
        ({"alpha": 1.5}, "alpha.*less than or equal to 1"),
        ({"state": "random"}, "random A has no factors"),
        ({"state": "legt"}, "needs full_t"),
        ({"learn": "dt", "full_t": True}, "they need learn dt_a"),
        ({"state": "fourier"}, "legs"),
    ],
)
def test_sizes_and_choices_that_do_not_exist_are_refused(choice, complaint: str) -> None:
    base = {"state_dim": 6, "dt_min": 0.001, "dt_max": 0.1}
    with pytest.raises(ConfigError, match=f"layer: .*{complaint}"):
        LSSLLayerSpec.parse(base | choice, where="layer")


def test_steps_too_long_for_euler_are_refused() -> None:
    make(alpha=0.0, state_dim=16)
    with pytest.raises(ConfigError, match=r"alpha 0\.0 with steps up to .* order 64 is unstable"):
        make(alpha=0.0, state_dim=64)
    layer = make(alpha=0.0, state_dim=16)
    with pytest.raises(ConfigError, match="unstable"):
        layer.set_rate(100.0)


def test_a_hand_set_matrix_must_be_stable_and_does_not_train() -> None:
    spec = LSSLLayerSpec(state_dim=4, learn="dt", dt_min=0.001, dt_max=0.1)
    a_NN, b_N = legs(4)
    torch.manual_seed(0)
    mine = LSSL(FEATURES, spec, Transition(a_NN, b_N))
    torch.manual_seed(0)
    named = LSSL(FEATURES, spec)
    u = noise(1, 40, FEATURES)
    torch.testing.assert_close(mine(u), named(u), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="so the state grows"):
        LSSL(FEATURES, spec, Transition(-a_NN, b_N))
    with pytest.raises(ConfigError, match="no factors to train"):
        LSSL(FEATURES, spec.model_copy(update={"learn": "dt_a"}), Transition(a_NN, b_N))


@pytest.mark.parametrize("state", ["legs", "legt"])
def test_a_stream_of_an_a_that_trained_to_be_unstable_is_refused(state: str) -> None:
    layer = make(state=state, full_t=True)
    layer.fold(4)
    with torch.no_grad():
        layer.dynamics.t_diag.fill_(-1.0)
    assert float(layer.dynamics.eigenvalues().real.max()) > 0.0
    with pytest.raises(ConfigError, match="so the state grows"):
        layer.fold(4)


def test_autocast_leaves_it_in_float32() -> None:
    layer, u = make(), noise(1, 300, FEATURES)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(u.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, layer(u.bfloat16().float()))


def test_it_learns_to_remember() -> None:
    """Echo the input of 20 frames ago: A and dt that train do better than a fixed read-out."""
    u = noise(16, 120, 1)
    losses = []
    for learn in ("fixed", "dt_a"):
        torch.manual_seed(0)
        spec = LSSLLayerSpec(state_dim=8, learn=learn, dt_min=0.02, dt_max=0.0201)
        layer = LSSL(1, spec)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
        for _ in range(50):
            loss = (layer(u)[:, 20:] - u[:, :-20]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0] < 1.5
