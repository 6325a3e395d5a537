"""RNN-T likelihood and word errors of an exported form, by its own arithmetic.

Every encoder chunk, prediction and logit row is a call of its own, as on a device: dynamic schemes
take their ranges from one call. The lattice is the one that devices search, one symbol a frame; an
utterance with more tokens than frames has no path in it and counts as 0 for every form.
T frames, U labels, J joiner width, V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from todm.core.specs import SUBSAMPLING
from todm.decode.greedy import greedy
from todm.decode.steps import TransducerSteps
from todm.decode.streaming import encode_chunks, padded_features
from todm.decode.tokens import TokenTable
from todm.export.evidence import Spoken
from todm.features.fbank import fbank
from todm.losses.transducer import transducer_loss
from todm.metrics.bootstrap import difference_interval
from todm.metrics.wer import WordErrors, word_errors


@dataclass(frozen=True)
class FormScores:
    """What a form scored on dev."""

    nll: float
    """Per token, in nats."""
    errors: WordErrors


def score_form(steps: TransducerSteps, dev: Sequence[Spoken], table: TokenTable) -> FormScores:
    """Return likelihood and word errors of a form."""
    total, hyps = 0.0, []
    for spoken in dev:
        enc_KJ = encode_chunks(steps, padded_features(spoken.samples_S, steps.contract))
        hyps.append(table.decode(greedy(steps, enc_KJ).ids))
        total += _nll(steps, _real_frames(spoken, enc_KJ), spoken.tokens)
    tokens = max(1, sum(len(spoken.tokens) for spoken in dev))
    return FormScores(total / tokens, word_errors([s.text for s in dev], hyps))


def form_nll(steps: TransducerSteps, dev: Sequence[Spoken]) -> float:
    """Return the likelihood alone."""
    total = 0.0
    for spoken in dev:
        enc_KJ = encode_chunks(steps, padded_features(spoken.samples_S, steps.contract))
        total += _nll(steps, _real_frames(spoken, enc_KJ), spoken.tokens)
    return total / max(1, sum(len(spoken.tokens) for spoken in dev))


def _real_frames(spoken: Spoken, enc_KJ: Float[np.ndarray, "K J"]) -> Float[np.ndarray, "T J"]:
    """Drop the frames of the tail's silence, which training never sees."""
    return enc_KJ[: max(1, fbank(spoken.samples_S).shape[0] // SUBSAMPLING)]


def _nll(steps: TransducerSteps, enc_TJ: Float[np.ndarray, "T J"], tokens: Sequence[int]) -> float:
    context_1C = steps.start_context()
    predictions = [steps.predict(context_1C)]
    for token in tokens:
        context_1C = np.concatenate([context_1C[:, 1:], [[token]]], axis=1)
        predictions.append(steps.predict(context_1C))
    logits_TUV = np.stack(
        [[steps.join(enc_J[None], pred_1J)[0] for pred_1J in predictions] for enc_J in enc_TJ]
    )
    loss = transducer_loss(
        torch.from_numpy(logits_TUV)[None],
        torch.tensor([list(tokens)], dtype=torch.int64).reshape(1, -1),
        torch.tensor([enc_TJ.shape[0]]),
        torch.tensor([len(tokens)]),
        topology="one_symbol",
    )
    return float(loss.loss_B.double().sum())


def wer_rise_bound(reference: WordErrors, other: WordErrors, seed: int) -> float:
    """Return the one-sided 95 % bound of the rise in percent points (paired bootstrap).

    The upper end of the two-sided 90 % interval over utterances.
    """
    return difference_interval(
        [100.0 * u.errors for u in reference.per_utterance],
        [100.0 * u.errors for u in other.per_utterance],
        [float(u.words) for u in reference.per_utterance],
        seed=seed,
        level=0.9,
    ).high
