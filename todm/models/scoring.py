"""Scores of many subnets of one supernet on the same utterances, without retraining.

What all subnets share is computed once: the front end's and the predictor's outputs. A score then
costs the kept blocks, the joiner's projections and a batched greedy search.

Legend: B utterances, T encoder frames, U labels, U1 = U + 1, D model width, E embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todm.core.data_config import Split
from todm.core.errors import ConfigError, DataError
from todm.core.specs import SubnetSpec
from todm.data.loader import dev_features
from todm.data.manifest import Corpus
from todm.decode.tokens import TokenTable
from todm.kernels.transducer import Topology
from todm.losses.transducer import transducer_loss
from todm.metrics.wer import word_errors
from todm.models.rnnt import Transducer, encoder_lens, greedy_batch

BATCH_UTTERANCES = 64
MAX_LOGITS = 8_000_000
"""Lattice logits held at once while the likelihood is computed (32 MB in float32)."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One utterance to score."""

    features_TF: Tensor
    """fbank, (T, F)."""
    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, eq=False)
class ScoringBatch:
    """Utterances of similar length with what every subnet shares."""

    front_BTD: Tensor
    pred_BUE: Tensor
    """(B, U1, E): after each prefix of the targets."""
    frame_lens_B: Tensor
    targets_BU: Tensor
    target_lens_B: Tensor
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ScoringSet:
    """All batches, and how to read tokens."""

    batches: tuple[ScoringBatch, ...]
    table: TokenTable
    topology: Topology
    """Of the likelihood; decoding always emits at most one symbol a frame."""


@dataclass(frozen=True)
class Scores:
    """What a subnet scored."""

    wer: float
    """Percent, at most one symbol a frame."""
    nll: float
    """Negative log-likelihood per token in nats."""
    words: int
    """Reference words."""


def corpus_samples(
    corpus: Corpus, table: TokenTable, split: Split, limit: int | None
) -> list[Sample]:
    """Return utterances of a split with their features, spread evenly.

    Raises:
        ConfigError: the corpus has another token table than the model.
        DataError: the split is empty, or its audio is unreadable.
    """
    where = corpus.artifact.path
    if corpus.table != table:
        raise ConfigError(f"{where}: has another token table than the supernet; take its corpus")
    rows = dev_features(corpus, split, limit)
    if not rows:
        raise DataError(f"{where}: has no {split} utterances; prepare some")
    return [Sample(features, u.tokens, u.text) for u, features in rows]


@torch.inference_mode()
def scoring_set(
    model: Transducer,
    samples: Sequence[Sample],
    table: TokenTable,
    *,
    topology: Topology = "regular",
    batch_utterances: int = BATCH_UTTERANCES,
) -> ScoringSet:
    """Sort by length, batch, and run the shared parts once."""
    ordered = sorted(samples, key=lambda s: s.features_TF.shape[0])
    batches = tuple(
        _scoring_batch(model, ordered[start : start + batch_utterances])
        for start in range(0, len(ordered), batch_utterances)
    )
    return ScoringSet(batches, table, topology)


def _scoring_batch(model: Transducer, samples: Sequence[Sample]) -> ScoringBatch:
    device = next(model.parameters()).device
    pad = torch.nn.utils.rnn.pad_sequence
    features_BTF = pad([s.features_TF for s in samples], batch_first=True).to(device)
    tokens = [torch.tensor(s.tokens, dtype=torch.int64) for s in samples]
    targets_BU = pad(tokens, batch_first=True).to(device)
    frames_B = torch.tensor([s.features_TF.shape[0] for s in samples], device=device)
    return ScoringBatch(
        front_BTD=model.encoder.front(features_BTF),
        pred_BUE=model.predictor(targets_BU),
        frame_lens_B=encoder_lens(frames_B),
        targets_BU=targets_BU,
        target_lens_B=torch.tensor([len(s.tokens) for s in samples], device=device),
        texts=tuple(s.text for s in samples),
    )


def score(model: Transducer, spec: SubnetSpec, data: ScoringSet) -> Scores:
    """Return WER and likelihood of one subnet (of the model's own spec for a dense twin)."""
    return score_encoded(model, spec, data, encoded(model, spec, data))


@torch.inference_mode()
def encoded(model: Transducer, spec: SubnetSpec, data: ScoringSet) -> list[Tensor]:
    """Return each batch's encoder output (B, T, D), which subnets with the same blocks share."""
    return [
        model.encoder.body(batch.front_BTD, spec, frame_lens_B=batch.frame_lens_B)
        for batch in data.batches
    ]


@torch.inference_mode()
def score_encoded(
    model: Transducer, spec: SubnetSpec, data: ScoringSet, encoded_X: Sequence[Tensor]
) -> Scores:
    """Return the scores of a subnet whose encoder has run."""
    refs: list[str] = []
    hyps: list[str] = []
    loss = torch.zeros((), dtype=torch.float64)
    for batch, enc_BTD in zip(data.batches, encoded_X, strict=True):
        lens_B = batch.frame_lens_B
        enc_BTJ = model.joiner.from_encoder(enc_BTD, spec.joiner_dim)
        found = greedy_batch(model, enc_BTJ, lens_B, spec)
        hyps += [data.table.decode(tokens.ids) for tokens in found]
        refs += batch.texts
        loss += _batch_loss(model, enc_BTD, batch, spec, data.topology)
    num_tokens = sum(int(b.target_lens_B.sum()) for b in data.batches)
    errors = word_errors(refs, hyps)
    return Scores(errors.wer, float(loss) / max(1, num_tokens), errors.words)


def _batch_loss(
    model: Transducer,
    enc_BTD: Tensor,
    batch: ScoringBatch,
    spec: SubnetSpec,
    topology: Topology,
) -> float:
    """Sum the likelihood loss, some utterances at a time so that the lattice stays small."""
    size, frames = enc_BTD.shape[:2]
    logits_each = frames * batch.pred_BUE.shape[1] * spec.vocab_size
    step = max(1, MAX_LOGITS // logits_each)
    total = 0.0
    for start in range(0, size, step):
        part = slice(start, start + step)
        logits_BTUV = model.joiner.lattice(enc_BTD[part], batch.pred_BUE[part], spec.joiner_dim)
        result = transducer_loss(
            logits_BTUV,
            batch.targets_BU[part],
            batch.frame_lens_B[part],
            batch.target_lens_B[part],
            topology=topology,
        )
        total += float(result.loss_B.double().sum())
    return total
