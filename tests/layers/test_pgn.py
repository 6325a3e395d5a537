import pytest
import torch
from torch import Tensor

from todm.kernels.history import history_ref
from todm.layers.pgn import PGN


def make(features: int, hidden: int, window: int, groups: int = 1) -> tuple[PGN, Tensor]:
    torch.manual_seed(0)
    layer = PGN(features, hidden, window, groups).double()
    x = torch.randn(2, 21, features, generator=torch.Generator().manual_seed(1)).double()
    return layer, x


def by_the_paper(layer: PGN, x: Tensor) -> Tensor:
    """Equations of one group, gate and candidate as two maps."""
    h = history_ref(x, layer.taps, layer.bias)
    both, units = torch.cat([x, h], -1), h.shape[-1]
    weight, bias = layer.gate_weight[0], layer.gate_bias[0]
    gate = torch.sigmoid(both @ weight[:, :units] + bias[:units])
    candidate = torch.tanh(both @ weight[:, units:] + bias[units:])
    return gate * h + (1.0 - gate) * candidate


@pytest.mark.parametrize(("features", "hidden", "window"), [(1, 2, 20), (5, 2, 6), (3, 8, 1)])
def test_layer_equals_the_papers_equations(features: int, hidden: int, window: int) -> None:
    layer, x = make(features, hidden, window)
    torch.testing.assert_close(layer(x), by_the_paper(layer, x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("chunk", [1, 3, 16, 21])
def test_streaming_equals_offline(chunk: int) -> None:
    layer, x = make(6, 4, 5, groups=2)
    past, found = None, []
    for part in x.split(chunk, 1):
        y, past = layer.step(part, past)
        found.append(y)
    torch.testing.assert_close(torch.cat(found, 1), layer(x), rtol=1e-13, atol=1e-13)


def test_groups_are_layers_of_their_own() -> None:
    layer, x = make(6, 4, 5, groups=2)
    halves = []
    for group in range(2):
        one = make(3, 2, 5)[0]
        one.taps.data = layer.taps.data[2 * group : 2 * group + 2]
        one.bias.data = layer.bias.data[2 * group : 2 * group + 2]
        one.gate_weight.data = layer.gate_weight.data[group : group + 1]
        one.gate_bias.data = layer.gate_bias.data[group : group + 1]
        halves.append(one(x[..., 3 * group : 3 * group + 3]))
    torch.testing.assert_close(layer(x), torch.cat(halves, -1))


@pytest.mark.parametrize("groups", [1, 3])
def test_parameters_are_those_of_the_paper(groups: int) -> None:
    """History F d (R - 1) + d and gate 2 d (F + d) + 2 d, for each variate."""
    features, hidden, rows = 5, 8, 7
    count = sum(p.numel() for p in PGN(groups * 5, groups * 8, rows - 1, groups).parameters())
    history, gate = features * hidden * (rows - 1) + hidden, 2 * hidden * (features + hidden + 1)
    assert count == groups * (history + gate)


def test_the_frame_itself_reaches_the_output_through_the_gate_alone() -> None:
    """With the gate's maps at zero an output sees nothing but frames before it."""
    layer, x = make(2, 3, 4)
    layer.gate_weight.data.zero_()
    x.requires_grad_()
    for frame in (0, 5, 20):
        (grad,) = torch.autograd.grad(layer(x)[0, frame].sum(), x)
        seen = grad[0].abs().sum(-1).nonzero().flatten().tolist()
        assert seen == list(range(max(0, frame - 4), frame))


def test_sizes_that_do_not_fit_are_refused() -> None:
    for sizes in ((3, 4, 5, 2), (4, 3, 5, 2), (4, 4, 0, 1)):
        with pytest.raises(ValueError, match="groups must divide"):
            PGN(*sizes)
