"""What a forecast costs: parameters and MACs of one window, as closed forms.

One MAC is one multiply-add of a matrix product or a convolution; taps that meet the zeros before
the window count, since they are computed (tests hold this equal to torch's FlopCounterMode).
The history alone takes R (R - 1) P F D: with the period fixed it grows with the square of the
window, whatever the number of steps in a row.

T window, H horizon, C variates, F inputs of a step (1 + marks), P period, R and Q rows of window
and horizon, D units.
"""

from typing import assert_never

from todm.core.forecaster_spec import (
    DLinearSpec,
    ForecasterSpec,
    GRUSpec,
    TPGNSpec,
    horizon_rows,
    window_rows,
)


def forecaster_parameters(spec: ForecasterSpec) -> int:
    """Return the trainable scalars; equal to torch's count of ``Forecaster(spec)``."""
    inputs = 1 + spec.marks
    match spec.net:
        case TPGNSpec():
            rows, units = window_rows(spec, spec.net), spec.net.hidden_dim
            pool = units * units * rows + units
            history = inputs * units * (rows - 1) + units
            gate = 2 * units * (inputs + units) + 2 * units
            long = history + gate + pool
            short = inputs * units * spec.net.period_steps + units + pool
            width, branches = _branches(spec.net, long, short)
            outputs = horizon_rows(spec, spec.net)
            return spec.variates * (branches + width * outputs + outputs)
        case DLinearSpec():
            return 2 * (spec.window_steps + 1) * spec.horizon_steps
        case GRUSpec(hidden_dim=units):
            outputs = spec.horizon_steps * spec.variates
            gates = 3 * units * (spec.variates + spec.marks + units + 2)
            return gates + (units + 1) * outputs
        case _:
            assert_never(spec.net)


def forecast_macs(spec: ForecasterSpec) -> int:
    """Return the MACs of one forecast of all variates."""
    inputs = 1 + spec.marks
    match spec.net:
        case TPGNSpec(period_steps=period):
            rows, units = window_rows(spec, spec.net), spec.net.hidden_dim
            history = rows * (rows - 1) * period * inputs * units
            gate = rows * period * 2 * units * (inputs + units)
            long = history + gate + period * units * units * rows
            short = rows * inputs * units * period + units * units * rows
            width, branches = _branches(spec.net, long, short)
            return spec.variates * (branches + period * width * horizon_rows(spec, spec.net))
        case DLinearSpec():
            return spec.variates * 2 * spec.window_steps * spec.horizon_steps
        case GRUSpec(hidden_dim=units):
            gates = 3 * units * (spec.variates + spec.marks + units)
            return spec.window_steps * gates + units * spec.horizon_steps * spec.variates
        case _:
            assert_never(spec.net)


def _branches(net: TPGNSpec, long: int, short: int) -> tuple[int, int]:
    """Return the inputs of the head, and the sum over the branches that there are."""
    match net.branches:
        case "both":
            return 2 * net.hidden_dim, long + short
        case "long":
            return net.hidden_dim, long
        case "short":
            return net.hidden_dim, short
