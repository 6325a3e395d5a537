"""Forecasters: the published parameter counts, the equations written out, and what may not mix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from todm.core.cost_forecast import forecast_macs, forecaster_parameters
from todm.core.forecaster_spec import DLinearSpec, ForecasterSpec, GRUSpec, TPGNSpec
from todm.models.forecaster import Forecaster


def spec_of(**changes):
    net = changes.pop("net", TPGNSpec(period_steps=4, hidden_dim=3))
    sizes = {"window_steps": 12, "horizon_steps": 8, "variates": 2, "marks": 3, "norm": False}
    return ForecasterSpec(net=net, **{**sizes, **changes})


def inputs(spec, batch=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x_BTC = torch.randn(batch, spec.window_steps, spec.variates, generator=generator, dtype=dtype)
    marks = torch.rand(batch, spec.window_steps, spec.marks, generator=generator, dtype=dtype)
    return x_BTC, marks


@pytest.mark.parametrize(
    ("units", "horizon", "parameters"),
    [(2, 168, 431), (2, 336, 466), (2, 720, 546), (8, 168, 2471), (8, 720, 2862), (8, 1440, 3372)],
)
def test_parameter_counts_of_the_published_settings(units, horizon, parameters):
    spec = ForecasterSpec(
        window_steps=168,
        horizon_steps=horizon,
        marks=4,
        net=TPGNSpec(period_steps=24, hidden_dim=units),
    )
    model = Forecaster(spec)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert forecaster_parameters(spec) == parameters


NETS = [
    *(TPGNSpec(period_steps=4, hidden_dim=3, branches=b) for b in ("both", "long", "short")),
    DLinearSpec(average_steps=5),
    GRUSpec(hidden_dim=6),
]


@pytest.mark.parametrize("net", NETS, ids=lambda n: getattr(n, "branches", n.kind))
@pytest.mark.parametrize("variates", [1, 2])
@pytest.mark.parametrize("marks", [0, 3])
def test_closed_forms_equal_torch_s_counts(net, variates, marks):
    spec = spec_of(net=net, variates=variates, marks=marks)
    model = Forecaster(spec)
    assert forecaster_parameters(spec) == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        y_BHC = model(*inputs(spec, 1, torch.float32))
    assert y_BHC.shape == (1, 8, variates)
    assert 2 * forecast_macs(spec) == counter.get_total_flops()


def sigmoid(value):
    return 1.0 / (1.0 + np.exp(-value))


def tpgn_by_the_equations(model, x_TF):
    """Forecast of one variate from (T, F) inputs by loops over rows, columns and lags."""
    net = model.net
    weights = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    rows, period = net.rows, net.period
    x_RPF = x_TF.reshape(rows, period, -1)
    taps_DFW, units = weights["pgn.taps"], weights["pgn.taps"].shape[0]
    y_QP = []
    short_D = np.array(weights["patch_pool.bias"])
    for row in range(rows):
        patch_D = weights["patch.bias"] + np.einsum(
            "dfp,pf->d", weights["patch.weight"], x_RPF[row]
        )
        short_D = short_D + weights["patch_pool.weight"][:, :, row] @ patch_D
    for column in range(period):
        long_D = np.array(weights["row_pool.bias"])
        for row in range(rows):
            h_D = np.array(weights["pgn.bias"])
            for lag in range(1, rows):
                if row - lag >= 0:  # zeros before the first row; the row itself is not seen
                    h_D = h_D + taps_DFW[:, :, lag - 1] @ x_RPF[row - lag, column]
            both = np.concatenate([x_RPF[row, column], h_D])
            gates = both @ weights["pgn.gate_weight"][0] + weights["pgn.gate_bias"][0]
            gate, candidate = sigmoid(gates[:units]), np.tanh(gates[units:])
            long_D = long_D + weights["row_pool.weight"][:, :, row] @ (
                gate * h_D + (1.0 - gate) * candidate
            )
        head = weights["head.weight"][:, :, 0] @ np.concatenate([short_D, long_D])
        y_QP.append(head + weights["head.bias"])
    return np.stack(y_QP, 1).reshape(-1)


def test_the_network_is_the_equations():
    spec = spec_of(variates=1)
    model = Forecaster(spec).double()
    x_BTC, marks_BTM = inputs(spec)
    y_BHC = model(x_BTC, marks_BTM).detach().numpy()
    for y_HC, x_TC, marks_TM in zip(y_BHC, x_BTC.numpy(), marks_BTM.numpy(), strict=True):
        want = tpgn_by_the_equations(model, np.concatenate([x_TC, marks_TM], 1))
        np.testing.assert_allclose(y_HC[:, 0], want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("branches", ["both", "long", "short"])
def test_variates_have_weights_of_their_own(branches):
    """A net of three variates equals three nets of one, each with its slice of the weights."""
    net = TPGNSpec(period_steps=4, hidden_dim=3, branches=branches)
    spec = spec_of(net=net, variates=3)
    model = Forecaster(spec).double()
    x_BTC, marks_BTM = inputs(spec)
    y_BHC = model(x_BTC, marks_BTM)
    one = Forecaster(spec_of(net=net, variates=1)).double()
    for variate in range(3):
        wanted = one.state_dict()
        parts = {
            name: weight.chunk(3)[variate] if weight.shape != wanted[name].shape else weight
            for name, weight in model.state_dict().items()
        }
        one.load_state_dict(parts)
        y_BH1 = one(x_BTC[..., variate : variate + 1], marks_BTM)
        torch.testing.assert_close(y_BHC[..., variate : variate + 1], y_BH1, rtol=1e-12, atol=1e-12)


def test_a_horizon_that_ends_inside_a_row_is_cut_there():
    whole, cut = spec_of(horizon_steps=8), spec_of(horizon_steps=6)
    model, shorter = Forecaster(whole).double(), Forecaster(cut).double()
    shorter.load_state_dict(model.state_dict())
    torch.testing.assert_close(shorter(*inputs(cut)), model(*inputs(whole))[:, :6])


@pytest.mark.parametrize(("window", "near"), [(10, "8 or 12"), (4, "8"), (7, "8")])
def test_a_window_of_no_whole_periods_is_refused_with_what_would_do(window, near):
    with pytest.raises(ValidationError, match=f"take {near}"):
        spec_of(window_steps=window)


@pytest.mark.parametrize("net", NETS, ids=lambda n: getattr(n, "branches", n.kind))
@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-1e3, 1e3), factor=st.floats(0.5, 1e2))
def test_a_normalised_forecast_follows_shift_and_scale(net, shift, factor):
    spec = spec_of(net=net, norm=True)
    model = Forecaster(spec).double()
    x_BTC, marks_BTM = inputs(spec)
    plain = model(x_BTC, marks_BTM)
    moved = model(factor * x_BTC + shift, marks_BTM)
    # equal but for the 1e-5 that is added to the variance
    torch.testing.assert_close(moved, factor * plain + shift, rtol=1e-3, atol=1e-3 * factor)


@pytest.mark.parametrize("net", NETS, ids=lambda n: getattr(n, "branches", n.kind))
def test_a_constant_window_has_a_finite_forecast_and_gradient(net):
    spec = spec_of(net=net, norm=True)
    model = Forecaster(spec)
    _, marks = inputs(spec, dtype=torch.float32)
    x_BTC = torch.full((3, 12, 2), 5.0, requires_grad=True)
    y_BHC = model(x_BTC, marks)
    y_BHC.sum().backward()
    assert torch.isfinite(y_BHC).all()
    assert torch.isfinite(x_BTC.grad).all()
    torch.testing.assert_close(y_BHC, torch.full_like(y_BHC, 5.0), rtol=0, atol=0.1)


def test_dlinear_is_a_map_of_the_average_and_of_the_rest():
    spec = spec_of(net=DLinearSpec(average_steps=5), variates=1, marks=0)
    model = Forecaster(spec).double()
    x_BTC, marks = inputs(spec)
    weights = {k: v.detach().numpy() for k, v in model.net.state_dict().items()}
    for y_HC, x_TC in zip(model(x_BTC, marks).detach().numpy(), x_BTC.numpy(), strict=True):
        x_T = x_TC[:, 0]
        trend = [np.mean([x_T[np.clip(t + i, 0, 11)] for i in range(-2, 3)]) for t in range(12)]
        want = weights["trend.weight"] @ trend + weights["trend.bias"]
        want += weights["rest.weight"] @ (x_T - trend) + weights["rest.bias"]
        np.testing.assert_allclose(y_HC[:, 0], want, rtol=1e-12, atol=1e-12)
