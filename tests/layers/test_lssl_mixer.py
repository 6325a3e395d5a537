"""Linear state-space layers as heads of a mixer, beyond what the battery of all mixers asks."""

import pytest
import torch

from todm.core.errors import ConfigError
from todm.core.mixer_specs import LSSLSpec
from todm.kernels.hippo import legs
from todm.kernels.lssl import discretise_ref, krylov
from todm.layers.lssl_mixer import LSSLMixer
from todm.layers.mixer import CAUSAL

TEN_MINUTES_FRAMES = 15_000  # of 40 ms


def make(seed: int = 0, **form: object) -> tuple[LSSLMixer, LSSLSpec]:
    torch.manual_seed(seed)
    spec = LSSLSpec.model_validate({"num_heads": 4, "head_dim": 2, "state_dim": 8, **form})
    return LSSLMixer(6, spec), spec


@torch.no_grad()
def shaken(mixer: LSSLMixer) -> LSSLMixer:
    """Move the factors of A and B as training would."""
    for p in mixer.dynamics.parameters():
        p.add_(0.2 * torch.randn_like(p))
    return mixer


def test_at_birth_every_head_is_legs_of_its_own_timescale() -> None:
    mixer, spec = make()
    dt_H = mixer.double().dynamics.dt()
    assert sorted(dt_H.tolist())[0] == pytest.approx(spec.dt_min)
    assert sorted(dt_H.tolist())[-1] == pytest.approx(spec.dt_max)
    a_NN, b_N = legs(8)
    wanted = krylov(discretise_ref(a_NN[None], b_N[None], dt_H, 0.5), 40)
    torch.testing.assert_close(mixer.dynamics.krylov(40), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("state", ["legs", "lagt"])
@torch.no_grad()
def test_a_smaller_order_is_the_leading_part_of_the_same_state(state: str) -> None:
    """With factors of any value, to 1e-12: a lower bidiagonal T keeps leading blocks nested."""
    mixer, spec = make(state=state, state_dim=32)
    mixer = shaken(mixer.double())
    whole = mixer.dynamics.krylov(200)
    for heads, order in ((4, 31), (2, 8), (1, 1)):
        part = mixer.dynamics.krylov(200, heads, order)
        torch.testing.assert_close(part, whole[:heads, :order], rtol=1e-12, atol=1e-12)
        kept = spec.model_copy(update={"num_heads": heads, "state_dim": order})
        fold = mixer.fold(kept, 8, 0)
        torch.testing.assert_close(
            fold.write_HNL, mixer.fold(spec, 8, 0).write_HNL[:heads, :order], rtol=0, atol=1e-12
        )


def test_factors_of_any_value_keep_it_stable() -> None:
    for seed in range(20):
        mixer, _ = make(seed, state_dim=16)
        with torch.no_grad():
            for p in mixer.dynamics.parameters():
                p.add_(torch.randn_like(p))
        assert float(mixer.dynamics.eigenvalues().max()) < 0.0
        radius = torch.linalg.eigvals(mixer.double().dynamics.steps().a_HNN).abs()
        assert float(radius.detach().max()) < 1.0


@torch.no_grad()
def test_ten_minutes_of_streaming_do_not_drift() -> None:
    """The float32 error of the last minute is no more than three times that of the first."""
    mixer, spec = make(state_dim=16)
    x = torch.randn(1, TEN_MINUTES_FRAMES, 6)
    outputs = {}
    for dtype in (torch.float32, torch.float64):
        mixer = mixer.to(dtype)
        state = (torch.zeros(1, *spec.state_shapes()["ssm"], dtype=dtype),)
        fold, parts = mixer.fold(spec, 8, 0), []
        for part in x.to(dtype).split(8, 1):
            y, state = mixer.step(part, state, spec, fold)
            parts.append(y.double())
        outputs[dtype] = torch.cat(parts, 1)
    want = outputs[torch.float64]
    error_T = (outputs[torch.float32] - want).abs().amax((0, 2))
    tenth = TEN_MINUTES_FRAMES // 10
    first, last = float(error_T[:tenth].max()), float(error_T[-tenth:].max())
    assert 0.0 < last <= 3.0 * first
    assert first <= 1e-5 * float(want.abs().max())
    offline = mixer.mix(mixer.scan(x.double(), spec, CAUSAL))
    torch.testing.assert_close(want, offline, rtol=1e-10, atol=1e-10)


def test_another_frame_shift_needs_another_step() -> None:
    mixer, spec = make()
    before = mixer.dynamics.steps()
    mixer.dynamics.set_rate(2.0)
    after = mixer.dynamics.steps()
    doubled = make(dt_min=2 * spec.dt_min, dt_max=2 * spec.dt_max)[0].dynamics.steps()
    torch.testing.assert_close(after, doubled)
    assert not torch.allclose(before.b_HN, after.b_HN)


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({"state_dim": 0}, "state_dim.*greater than or equal to 1"),
        ({"dt_min": 0.5}, r"dt_min 0\.5 must be below dt_max 0\.5"),
        ({"dt_min": -0.1}, "dt_min.*greater than 0"),
        ({"dt_max": 1.5}, "dt_max.*less than or equal to 1"),
        ({"alpha": 0.0}, r"alpha.*greater than or equal to 0\.5"),
        ({"state": "legt"}, "legs"),
    ],
)
def test_forms_that_do_not_exist_are_refused(form, complaint: str) -> None:
    base = {"num_heads": 2, "head_dim": 2, "state_dim": 3}
    with pytest.raises(ConfigError, match=f"mixer: .*{complaint}"):
        LSSLSpec.parse(base | form, where="mixer")
