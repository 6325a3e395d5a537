"""Streaming equals offline, nothing looks ahead, and batches change nothing."""

import pytest
import torch
from torch import Tensor

from todm.core.mixer_specs import MHSSMSpec
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec
from todm.models.rnnt import GreedyTokens, Transducer, encoder_lens, greedy_batch

FRAMES = 48  # encoder frames: 192 fbank frames
VOCAB = 6


def make_spec() -> SubnetSpec:
    """A net whose layers are all unequal."""
    shapes = ((0, 24, 4, 3), (2, 16, 2, 5), (3, 40, 6, 2))
    return SubnetSpec(
        model_dim=16,
        blocks=tuple(
            BlockSpec(
                source_layer=layer,
                ffn_dim=ffn,
                mixer=MHSSMSpec(num_heads=heads, head_dim=3, state_dim=modes),
            )
            for layer, ffn, heads, modes in shapes
        ),
        predictor=PredictorSpec(embed_dim=12, context_size=3),
        joiner_dim=20,
        vocab_size=VOCAB,
    )


SPEC = make_spec()


@pytest.fixture(scope="module")
def model() -> Transducer:
    """Random weights in float64, scaled so that several different tokens come out."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = Transducer(SPEC).eval()
        net.encoder.front.mean.normal_()
        net.encoder.front.istd.uniform_(0.5, 2.0)
        with torch.no_grad():
            net.joiner.from_encoder.weight.mul_(3.0)
            net.joiner.from_predictor.weight.mul_(3.0)
            net.joiner.to_vocab.weight.mul_(4.0)
            net.joiner.to_vocab.bias[0] += 1.0
    return net.double()


def make_features(batch: int, frames: int = 4 * FRAMES, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, 80, generator=g, dtype=torch.float64)


@torch.no_grad()
def stream(model: Transducer, features_BTF: Tensor, chunk_frames: int) -> Tensor:
    encoder, outputs = model.encoder, []
    folds = encoder.folds(SPEC, chunk_frames)
    state = features_BTF.new_zeros(features_BTF.shape[0], SPEC.state_floats)
    for part in features_BTF.split(4 * chunk_frames, 1):
        y, state = encoder.step(part, state, SPEC, folds)
        assert state.shape == (features_BTF.shape[0], SPEC.state_floats)
        outputs.append(y)
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("chunk_frames", [1, 3, 16, FRAMES])
def test_encoder_steps_equal_forward(model: Transducer, chunk_frames: int) -> None:
    features = make_features(2)
    found, want = stream(model, features, chunk_frames), model.encoder(features, SPEC)
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk_frames", [1, 3, 16, FRAMES])
def test_encoder_steps_equal_forward_in_float32(model: Transducer, chunk_frames: int) -> None:
    """Some hundred roundings of 6e-8 on values of order 1, after a layer norm."""
    single = Transducer(SPEC).eval()
    single.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    features = make_features(2).float()
    found, want = stream(single, features, chunk_frames), single.encoder(features, SPEC)
    torch.testing.assert_close(found, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("chunk_frames", [1, 3, 16, FRAMES])
@torch.no_grad()
def test_front_end_steps_equal_forward(model: Transducer, chunk_frames: int) -> None:
    front, features = model.encoder.front, make_features(2)
    outputs, caches = [], None
    for part in features.split(4 * chunk_frames, 1):
        y, caches = front.step(part, caches)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), front(features), rtol=1e-12, atol=1e-12)


def test_front_end_drops_an_incomplete_frame(model: Transducer) -> None:
    features = make_features(1, 23)
    assert torch.equal(model.encoder.front(features), model.encoder.front(features[:, :20]))
    assert encoder_lens(torch.tensor([20, 23, 24, 3])).tolist() == [5, 5, 6, 0]


def test_no_frame_looks_ahead(model: Transducer) -> None:
    """Encoder frame t depends on fbank frames up to 4 t + 3, on that one too, and no later."""
    features = make_features(1, 40).requires_grad_()
    enc = model.encoder(features, SPEC)
    weight_D = torch.randn(16, generator=torch.Generator().manual_seed(1)).double()
    for frame in range(10):  # a plain sum would be constant after the last layer norm
        loss = (enc[0, frame] * weight_D).sum()
        (grad,) = torch.autograd.grad(loss, features, retain_graph=True)
        reached = grad[0].abs().sum(-1)
        assert float(reached[4 * frame + 4 :].sum()) == 0.0
        assert bool((reached[: 4 * frame + 4] > 0.0).all())


def assert_steps_equal_forward(model: Transducer, context_size: int) -> None:
    targets = torch.randint(1, VOCAB, (3, 7), generator=torch.Generator().manual_seed(2))
    want = model.predictor(targets)
    assert want.shape == (3, 8, 12)
    context = torch.tensor([[-1] * (context_size - 1) + [0]] * 3)  # what stock runtimes begin with
    for position in range(8):
        step = model.predictor.step(context)
        torch.testing.assert_close(step, want[:, position], rtol=1e-12, atol=1e-12)
        if position < 7:
            context = torch.cat([context[:, 1:], targets[:, position : position + 1]], 1)


def test_predictor_steps_equal_forward(model: Transducer) -> None:
    assert_steps_equal_forward(model, 3)


@pytest.mark.parametrize("context_size", [2, 3, 5])
def test_steps_of_a_pgn_predictor_equal_forward(context_size: int) -> None:
    predictor = PredictorSpec(kind="pgn", embed_dim=12, context_size=context_size)
    torch.manual_seed(3)
    net = Transducer(SPEC.model_copy(update={"predictor": predictor})).double()
    assert_steps_equal_forward(net, context_size)
    ids = torch.arange(context_size)[None] % VOCAB
    for at in range(context_size):  # it reads every token, and none counts as a zero vector
        hidden = ids.index_fill(1, torch.tensor([at]), -1)
        assert not torch.allclose(net.predictor.step(hidden), net.predictor.step(ids))
    nothing = net.predictor.step(torch.full((1, context_size), -1))
    zeroed = net.predictor.pgn(torch.zeros(1, 1, 12).double())[:, 0]
    torch.testing.assert_close(nothing, zeroed)


def greedy_alone(model: Transducer, enc_TJ: Tensor) -> GreedyTokens:
    """One utterance, frame by frame, at most one symbol each."""
    history, ids, frames = [-1, -1, 0], [], []
    for frame, enc_J in enumerate(enc_TJ):
        pred_1J = model.predict(torch.tensor([history[-3:]]), SPEC)
        token = int(model.joiner(enc_J, pred_1J[0]).argmax())
        if token != 0:
            history.append(token)
            ids.append(token)
            frames.append(frame)
    return GreedyTokens(ids, frames)


@torch.no_grad()
def test_greedy_batch_equals_one_utterance_at_a_time(model: Transducer) -> None:
    enc = model.encode(make_features(5), SPEC)
    lens = torch.tensor([FRAMES, 1, 17, 0, 40])
    found = greedy_batch(model, enc, lens, SPEC)
    want = [greedy_alone(model, row[:n]) for row, n in zip(enc, lens.tolist(), strict=True)]
    assert found == want
    assert len({token for tokens in found for token in tokens.ids}) > 2  # else it shows little
    assert 0 < len(found[0].ids) < FRAMES
    for tokens in found:  # one symbol a frame
        assert tokens.frames == sorted(set(tokens.frames))
        assert 0 not in tokens.ids


@torch.no_grad()
def test_one_symbol_a_frame_even_where_every_frame_wants_one(model: Transducer) -> None:
    eager = Transducer(SPEC).eval().double()
    eager.load_state_dict(model.state_dict())
    eager.joiner.to_vocab.bias[0] -= 100.0
    (found,) = greedy_batch(eager, eager.encode(make_features(1), SPEC), torch.tensor([9]), SPEC)
    assert found.frames == list(range(9))


@torch.no_grad()
def test_padding_changes_nothing(model: Transducer) -> None:
    """A short recording in a batch of long ones, whatever the padding holds."""
    lens = torch.tensor([4 * FRAMES, 90, 33])
    features = make_features(3)
    for row, n in enumerate(lens.tolist()):
        features[row, n:] = 1000.0 * (row + 1)
    enc_lens = encoder_lens(lens)
    batch = model.encode(features, SPEC)
    tokens = greedy_batch(model, batch, enc_lens, SPEC)
    for row, n in enumerate(lens.tolist()):
        alone = model.encode(features[row : row + 1, :n], SPEC)
        assert alone.shape[1] == enc_lens[row]
        torch.testing.assert_close(batch[row, : alone.shape[1]], alone[0], rtol=1e-12, atol=1e-12)
        assert greedy_batch(model, alone, enc_lens[row : row + 1], SPEC) == [tokens[row]]
