"""Forced alignment: when the words of known texts are complete, by a recogniser's best path.

Corpora of real sentences rarely say when each word ends. The most probable alignment of the text
under a recogniser that is fed as a device feeds it gives a common clock: delays against it say how
much later than that recogniser another one emits, not how long after the sound.

Legend: K encoder frames of an utterance, U labels and one, C context tokens, J joiner width,
V symbols.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from todm.core.errors import ConfigError
from todm.data.manifest import Corpus, Utterance
from todm.decode.greedy import Hypothesis
from todm.decode.steps import TransducerSteps
from todm.decode.streaming import encode_chunks, padded_features, transcript_of
from todm.evaluate.source import Source
from todm.evaluate.words import timed_words
from todm.features.wav import read_audio
from todm.kernels.alignment import best_path_frames
from todm.runtimes.recogniser import StepsRecogniser

JOINER_ROWS = 4096


def with_aligned_ends(
    source: Source, corpus: Corpus, utterances: Sequence[Utterance]
) -> tuple[Utterance, ...]:
    """Return the utterances with the word ends that a recogniser's alignment gives.

    An utterance with more labels than frames has no alignment and keeps no word ends.

    Args:
        source: The recogniser that aligns; its runtime steps one frame at a time.
        corpus: Whose tokens the utterances have.
        utterances: What is aligned.

    Raises:
        ConfigError: other tokens than the corpus's, or a runtime that hides its steps.
    """
    recogniser, where = source.recogniser, source.artifact.path
    if source.table != corpus.table:
        raise ConfigError(f"{where}: has other tokens than {corpus.artifact.path}; align by a net "
                          "of that corpus")  # fmt: skip
    if not isinstance(recogniser, StepsRecogniser):
        raise ConfigError(
            f"{where}: the runtime {source.runtime} hides its steps; align by a subnet"
        )
    bar = tqdm(utterances, desc=f"{where.name} aligns", unit="utt", mininterval=1, file=sys.stderr)
    return tuple(_aligned(source, recogniser.steps, utterance) for utterance in bar)


def _aligned(source: Source, steps: TransducerSteps, utterance: Utterance) -> Utterance:
    contract = steps.contract
    enc_KJ = encode_chunks(steps, padded_features(read_audio(utterance.audio_path), contract))
    try:
        frames = forced_frames(steps, enc_KJ, utterance.tokens)
    except ValueError:
        return replace(utterance, word_ends_s=None)
    path = transcript_of(Hypothesis(utterance.tokens, frames, ()), contract, source.table)
    words = timed_words(path, source.table, contract)
    return replace(utterance, word_ends_s=tuple(word.complete_s for word in words))


def forced_frames(
    steps: TransducerSteps, enc_KJ: Float[np.ndarray, "K J"], tokens: Sequence[int]
) -> tuple[int, ...]:
    """Return the encoder frame of each token on the best path, at most one token a frame.

    Raises:
        ValueError: more tokens than frames.
    """
    pred_UJ = steps.predict(_contexts(steps, tokens))
    at_N = np.indices((len(enc_KJ), len(pred_UJ))).reshape(2, -1).T
    logits_NV = np.concatenate([
        steps.join(enc_KJ[rows[:, 0]], pred_UJ[rows[:, 1]])
        for rows in np.array_split(at_N, max(1, len(at_N) // JOINER_ROWS))
    ])  # fmt: skip
    logits_KUV = torch.from_numpy(logits_NV).reshape(enc_KJ.shape[0], len(tokens) + 1, -1)
    log_KUV = logits_KUV.double().log_softmax(-1)
    labels = torch.tensor([*tokens, 0])
    label_KU = log_KUV.gather(2, labels.expand(len(log_KUV), -1)[..., None])[..., 0]
    blank_KU = log_KUV[..., steps.contract.blank_id]
    return best_path_frames(blank_KU, label_KU, topology="one_symbol")


def _contexts(steps: TransducerSteps, tokens: Sequence[int]) -> np.ndarray:
    """Return the predictor's context before each token and after the last, (U, C)."""
    size = steps.contract.context_size
    history = np.concatenate([steps.start_context()[0], np.asarray(tokens, np.int64)])
    return np.lib.stride_tricks.sliding_window_view(history, size).copy()
