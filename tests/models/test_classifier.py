"""Classifiers: parameters, chunks against whole sequences, the rate rule, refusals."""

import pytest
import torch
from pydantic import ValidationError

from todm.core.classifier_spec import ClassifierSpec, ConvMap, GRUMap, LSSLMap, MHSSMMap
from todm.core.errors import ConfigError
from todm.models.classifier import Classifier, StreamingClassifier, divisors

MAPS = {
    "lssl": LSSLMap(state_dim=6),
    "lssl_wide": LSSLMap(state_dim=5, num_outputs=2, learn="fixed"),
    "random": LSSLMap(state_dim=6, state="random", learn="dt"),
    "mhssm": MHSSMMap(num_heads=4, head_dim=2, state_dim=3),
    "gru": GRUMap(),
    "conv": ConvMap(taps=3, growth=2),
}
STREAMING = [name for name, sizes in MAPS.items() if sizes.streams]


def make(name: str, **changes: object) -> Classifier:
    torch.manual_seed(3)
    spec = {"input_dim": 2, "num_frames": 24, "outputs": 3, "depth": 2, "width": 8}
    model = Classifier(ClassifierSpec.model_validate({**spec, "map": MAPS[name], **changes}))
    model.mean.fill_(0.2)
    model.istd.fill_(1.5)
    return model.eval()


@pytest.mark.parametrize("name", MAPS)
def test_every_map_trains_all_parameters_and_sees_no_later_frame(name: str) -> None:
    model = make(name).train()
    x_BLI = torch.randn(2, 24, 2, requires_grad=True)
    model(x_BLI).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    x_BLI.grad = None
    model.features(x_BLI)[:, :10].square().sum().backward()
    assert x_BLI.grad is not None
    assert float(x_BLI.grad[:, 10:].abs().max()) < 1e-6 * float(x_BLI.grad.abs().max())


def test_parameters_of_a_layer_are_those_of_the_paper() -> None:
    """M H (H + N) of C and the linear map, with D, its bias, dt and the norm; A and B fixed."""
    width, order, outputs, depth = 16, 8, 2, 3
    spec = ClassifierSpec(
        input_dim=1,
        num_frames=50,
        outputs=10,
        depth=depth,
        width=width,
        map=LSSLMap(state_dim=order, num_outputs=outputs, learn="dt"),
    )
    layer = outputs * width * (width + order) + outputs * width + 2 * width + 2 * width
    ends = 2 * width + 10 * (width + 1)
    assert sum(p.numel() for p in Classifier(spec).parameters()) == depth * layer + ends


def test_the_output_is_that_of_the_stack_written_out() -> None:
    model = make("lssl")
    x_BLI = torch.randn(2, 24, 2)
    h = (x_BLI - 0.2) * 1.5 @ model.enter.weight.T + model.enter.bias
    for block, norm in zip(model.blocks, model.norms, strict=True):
        y = torch.nn.functional.gelu(block.lssl(h))
        h = norm(h + y @ block.out.weight.T + block.out.bias)
    want = h.mean(1) @ model.leave.weight.T + model.leave.bias
    torch.testing.assert_close(model(x_BLI), want)


@pytest.mark.parametrize("chunk", [1, 3, 24])
@pytest.mark.parametrize("name", STREAMING)
def test_chunks_end_where_the_whole_sequence_does(name: str, chunk: int) -> None:
    """In float64, and every prefix of whole chunks as a sequence of its own."""
    model = make(name).double()
    step = StreamingClassifier(model, chunk)
    x_BLI = torch.randn(3, 24, 2, dtype=torch.float64)
    state = x_BLI.new_zeros(3, step.state_floats)
    for start in range(0, 24, chunk):
        outputs, state = step(x_BLI[:, start : start + chunk], state)
        whole = model(x_BLI[:, : start + chunk])
        torch.testing.assert_close(outputs, whole, rtol=1e-10, atol=1e-12)


def test_a_stepped_regressor_says_figures_in_their_own_unit() -> None:
    model = make("lssl", head="regression", outputs=2).double()
    model.target_mean.copy_(torch.tensor([60.0, 15.0]))
    model.target_std.copy_(torch.tensor([9.0, 2.0]))
    step = StreamingClassifier(model, 24)
    x_BLI = torch.randn(3, 24, 2, dtype=torch.float64)
    found, _ = step(x_BLI, x_BLI.new_zeros(3, step.state_floats))
    want = model(x_BLI) * model.target_std + model.target_mean
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["lssl", "lssl_wide", "mhssm"])
def test_a_rate_is_told_and_taken_back(name: str) -> None:
    """On a slow signal half the frames say nearly the same with the rule, not without."""
    model = make(name, num_frames=400)
    time_L = torch.linspace(0, 1, 400)
    x_BLI = torch.stack(
        [torch.sin(2 * torch.pi * 2 * time_L), torch.cos(2 * torch.pi * 3 * time_L)], 1
    )[None]
    with torch.no_grad():
        whole = model(x_BLI)
        without = model(x_BLI[:, ::2])
        model.set_rate(2.0)
        ruled = model(x_BLI[:, ::2])
        model.set_rate(1.0)
        again = model(x_BLI)
    torch.testing.assert_close(again, whole, rtol=1e-5, atol=1e-5)
    assert (ruled - whole).norm() < 0.2 * (without - whole).norm()


def test_steps_are_born_in_the_range_of_the_length() -> None:
    for name, attribute in (("lssl", "lssl.dynamics.log_dt"), ("mhssm", "mixer.log_dt")):
        log_dt = make(name, num_frames=50).get_parameter(f"blocks.0.{attribute}").detach()
        assert float(log_dt.exp().min()) >= 0.99 / 50
        assert float(log_dt.exp().max()) <= 1.01 * 100 / 50


@pytest.mark.parametrize("name", ["gru", "conv"])
def test_baselines_have_neither_steps_nor_chunks(name: str) -> None:
    with pytest.raises(ConfigError, match="no step size"):
        make(name).set_rate(2.0)
    with pytest.raises(ConfigError, match="baseline of training"):
        StreamingClassifier(make(name), 3)


def test_wrong_rates_and_chunks_are_refused() -> None:
    for rate in (0.0, -1.0, float("nan")):
        for name in ("lssl", "mhssm"):
            with pytest.raises(ConfigError, match="no positive number"):
                make(name).set_rate(rate)
    for chunk in (0, 5, 48):
        with pytest.raises(ConfigError, match="do not divide sequences of 24"):
            StreamingClassifier(make("lssl"), chunk)
    assert divisors(24, 10) == [1, 2, 3, 4, 6, 8]


def test_wrong_specs_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        LSSLMap(state_dim=0)
    with pytest.raises(ValidationError, match="ascending positive steps"):
        LSSLMap(dt_range=(0.1, 0.1))
    with pytest.raises(ValidationError, match="does not train here"):
        LSSLMap(state="random")
    with pytest.raises(ValidationError, match="two classes"):
        make("gru", outputs=1)
