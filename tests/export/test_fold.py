import pytest
import torch
from tiny_bundle import babble, formed_spec, gated_spec, linear_spec, random_model, unequal_spec

from todm.export.fold import JoinerStep, PredictorStep, StreamingEncoder
from todm.features.fbank import fbank

each_net = pytest.mark.parametrize(
    "spec",
    [unequal_spec(), formed_spec(), gated_spec(), linear_spec()],
    ids=["plain", "forms", "gated", "linear"],
)


@each_net
@torch.no_grad()
def test_the_streaming_encoder_equals_the_training_form(spec):
    model = random_model(spec=spec)
    encoder = StreamingEncoder(model).eval()
    chunk = 4 * spec.chunk_frames
    x_NTF = torch.from_numpy(fbank(babble(3.0, 5)))[None, : 15 * chunk]
    state_NS, outputs = torch.zeros(1, spec.state_floats), []
    for start in range(0, x_NTF.shape[1], chunk):
        enc_NLJ, state_NS = encoder(x_NTF[:, start : start + chunk], state_NS)
        outputs.append(enc_NLJ)
    offline_NTJ = model.encode(x_NTF, spec)
    scale = offline_NTJ.abs().max().item()
    torch.testing.assert_close(torch.cat(outputs, 1), offline_NTJ, rtol=0, atol=1e-5 * scale)


@each_net
@torch.no_grad()
def test_the_predictor_and_joiner_equal_the_models(spec):
    model = random_model(spec=spec)
    past = [[-1, -1, -1, -1, 0], [-1, -1, 0, 3, 3], [7, 1, 2, 3, 5]]
    context_NC = torch.tensor(past)[:, -spec.predictor.context_size :]
    pred_NJ = PredictorStep(model)(context_NC)
    torch.testing.assert_close(pred_NJ, model.predict(context_NC, spec))
    enc_NJ = torch.randn(3, spec.joiner_dim)
    torch.testing.assert_close(JoinerStep(model)(enc_NJ, pred_NJ), model.joiner(enc_NJ, pred_NJ))


@each_net
def test_nothing_unused_is_carried_along(spec):
    names = set(StreamingEncoder(random_model(spec=spec)).state_dict())
    assert not [n for n in names if n.endswith(("log_dt", "log_neg_re", ".im", ".c", ".d"))]
    assert not [n for n in names if "dynamics" in n]
    assert not [n for n in names if "to_vocab" in n or "predictor" in n]
