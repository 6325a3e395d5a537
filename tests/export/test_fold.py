import torch
from tiny_bundle import babble, random_model, unequal_spec

from todm.core.specs import MHSSMSpec
from todm.export.fold import JoinerStep, PredictorStep, StreamingEncoder, folded_mixer
from todm.features.fbank import fbank
from todm.kernels.ssm import ssm_scan_ref
from todm.layers.mhssm import MHSSM


def test_the_scan_equals_the_reference():
    torch.manual_seed(1)
    spec = MHSSMSpec(num_heads=4, head_dim=3, state_dim=5)
    mixer = MHSSM(8, spec)
    folded = folded_mixer(mixer, spec, 6)
    u_NLHP, state_NHMP = torch.randn(2, 6, 4, 3), torch.randn(2, 4, 10, 3)
    with torch.no_grad():
        y_ref, state_ref = ssm_scan_ref(
            u_NLHP.double(), mixer.double().modes(spec), state_NHMP.double()
        )
    y, state = folded.advance(u_NLHP, state_NHMP)
    # float32 rounding of sums of about twenty terms of size one
    torch.testing.assert_close(y.double(), y_ref, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.double(), state_ref, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_streaming_encoder_equals_the_training_form():
    model, spec = random_model(), unequal_spec()
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


@torch.no_grad()
def test_the_predictor_and_joiner_equal_the_models():
    model, spec = random_model(), unequal_spec()
    context_NC = torch.tensor([[-1, 0], [0, 3], [3, 5]])
    pred_NJ = PredictorStep(model)(context_NC)
    torch.testing.assert_close(pred_NJ, model.predict(context_NC, spec))
    enc_NJ = torch.randn(3, spec.joiner_dim)
    torch.testing.assert_close(JoinerStep(model)(enc_NJ, pred_NJ), model.joiner(enc_NJ, pred_NJ))


def test_nothing_unused_is_carried_along():
    names = set(StreamingEncoder(random_model()).state_dict())
    assert not [n for n in names if n.endswith(("log_dt", "log_neg_re", ".im", ".c", ".d"))]
    assert not [n for n in names if "to_vocab" in n or "predictor" in n]
