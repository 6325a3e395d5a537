"""What a trained net hears, with the time of every word, and when each word was really said.

Whole recordings are decoded in batches, with the silence that a stream ends with, at most one
symbol a frame: the same tokens at the same frames as a device's stream gives.

Legend: B utterances, T encoder frames, U label positions, D model width.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todm.core.contract import contract_of
from todm.core.data_config import Split
from todm.core.specs import BLANK_ID, SubnetSpec
from todm.core.value import Value
from todm.data.loader import dev_features
from todm.data.manifest import Corpus, Utterance
from todm.decode.greedy import Hypothesis
from todm.decode.streaming import padded_features, transcript_of
from todm.evaluate.words import timed_words
from todm.features.wav import read_audio
from todm.kernels.alignment import best_path_frames
from todm.metrics.delay import word_delays_ms
from todm.metrics.wer import word_errors
from todm.models.rnnt import GreedyTokens, Transducer, encoder_lens, greedy_batch
from todm.models.scoring import Sample, score, scoring_set
from todm.models.store import Supernet

BATCH_UTTERANCES = 32


class Heard(Value):
    """One utterance as a net recognised it."""

    id: str
    speaker: str
    ref: str
    hyp: str
    emitted_s: tuple[float, ...]
    """How much audio had been heard when each recognised word was complete."""


class DevScore(Value):
    """What the rate is chosen by."""

    wer: float
    nll: float


@dataclass(frozen=True)
class _Batch:
    utterances: Sequence[Utterance]
    front_BTD: Tensor
    lens_B: Tensor


@torch.inference_mode()
def hear(
    net: Supernet, specs: Mapping[str, SubnetSpec], corpus: Corpus, split: Split
) -> dict[str, list[Heard]]:
    """Recognise a split by several nets of one set of weights, in the corpus's order."""
    batches = list(_batches(net, corpus.cuts(split), next(iter(specs.values()))))
    order = {utterance.id: index for index, utterance in enumerate(corpus.cuts(split))}
    found = {}
    for size, spec in specs.items():
        heard = [row for batch in batches for row in _hear_batch(net, spec, batch)]
        found[size] = sorted(heard, key=lambda row: order[row.id])
    return found


def _batches(net: Supernet, utterances: Sequence[Utterance], spec: SubnetSpec) -> Iterator[_Batch]:
    """Yield batches of similar length with the front end's output; all nets share it."""
    contract = contract_of(spec, net.table.unit)
    ordered = sorted(utterances, key=lambda u: u.duration_s)
    for start in range(0, len(ordered), BATCH_UTTERANCES):
        part = ordered[start : start + BATCH_UTTERANCES]
        features = [
            torch.from_numpy(padded_features(read_audio(u.audio_path), contract)) for u in part
        ]
        features_BTF = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        lens_B = encoder_lens(torch.tensor([f.shape[0] for f in features]))
        yield _Batch(part, net.model.encoder.front(features_BTF), lens_B)


def _hear_batch(net: Supernet, spec: SubnetSpec, batch: _Batch) -> Iterator[Heard]:
    enc_BTD = net.model.encoder.body(batch.front_BTD, spec)
    enc_BTJ = net.model.joiner.from_encoder(enc_BTD, spec.joiner_dim)
    for utterance, tokens in zip(
        batch.utterances, greedy_batch(net.model, enc_BTJ, batch.lens_B, spec), strict=True
    ):
        words = _words(net, spec, tokens)
        yield Heard(
            id=utterance.id,
            speaker=utterance.speaker,
            ref=utterance.text,
            hyp=net.table.decode(tokens.ids),
            emitted_s=tuple(complete_s for _, complete_s in words),
        )


def _words(net: Supernet, spec: SubnetSpec, tokens: GreedyTokens) -> list[tuple[str, float]]:
    """Return the words of timed tokens, each with the end of its last token's frame."""
    contract = contract_of(spec, net.table.unit)
    hypothesis = Hypothesis(tuple(tokens.ids), tuple(tokens.frames), ())
    transcript = transcript_of(hypothesis, contract, net.table)
    return [(w.text, w.complete_s) for w in timed_words(transcript, net.table, contract)]


def dev_scores(
    net: Supernet, specs: Mapping[str, SubnetSpec], corpus: Corpus
) -> dict[str, DevScore]:
    """Return WER (as ``hear`` has it) and NLL per token of each net on the whole dev split."""
    samples = [Sample(f, u.tokens, u.text) for u, f in dev_features(corpus, "dev")]
    data = scoring_set(net.model, samples, net.table, topology=net.config.loss.topology)
    return {
        size: DevScore(
            wer=word_errors([row.ref for row in rows], [row.hyp for row in rows]).wer,
            nll=score(net.model, specs[size], data).nll,
        )
        for size, rows in hear(net, specs, corpus, "dev").items()
    }


@torch.inference_mode()
def aligned_ends_s(net: Supernet, corpus: Corpus, split: Split) -> dict[str, tuple[float, ...]]:
    """Return the end of each word by forced alignment: the best path of the net's own lattice.

    Utterances that no path fits (one symbol a frame, more symbols than frames) are left out.
    """
    spec = net.config.space.largest
    found = {}
    for batch in _batches(net, corpus.cuts(split), spec):
        enc_BTD = net.model.encoder.body(batch.front_BTD, spec)
        for enc_TD, length, utterance in zip(
            enc_BTD, batch.lens_B.tolist(), batch.utterances, strict=True
        ):
            frames = _best_frames(net, enc_TD[:length], utterance)
            if frames is not None:
                tokens = GreedyTokens(list(utterance.tokens), list(frames))
                found[utterance.id] = tuple(end_s for _, end_s in _words(net, spec, tokens))
    return found


def _best_frames(net: Supernet, enc_TD: Tensor, utterance: Utterance) -> tuple[int, ...] | None:
    model: Transducer = net.model
    targets_1U = torch.tensor([utterance.tokens], dtype=torch.int64)
    pred_1UE = model.predictor(targets_1U)
    logits_TUV = model.joiner.lattice(enc_TD[None], pred_1UE, model.spec.joiner_dim)[0]
    logp_TUV = torch.log_softmax(logits_TUV, dim=-1)
    index_TU1 = targets_1U[0].expand(enc_TD.shape[0], -1)[..., None]
    label_TU = logp_TUV[:, :-1].gather(2, index_TU1)[..., 0]
    label_TU = torch.nn.functional.pad(label_TU, (0, 1), value=float("-inf"))
    blank_TU = logp_TUV[..., BLANK_ID]
    try:
        return best_path_frames(blank_TU, label_TU, topology=net.config.loss.topology)
    except ValueError:
        return None


def joined_ends_s(corpus: Corpus, split: Split) -> dict[str, tuple[float, ...]]:
    """Return the end of each word where the joining of strings tells it."""
    ends = {u.id: u.word_ends_s for u in corpus.cuts(split)}
    return {name: end for name, end in ends.items() if end is not None}


def delays_ms(heard: Iterable[Heard], ends_s: Mapping[str, Sequence[float]]) -> list[float]:
    """Return the emission delays of all correctly recognised words with a known end."""
    return [
        delay
        for row in heard
        if row.id in ends_s
        for delay in word_delays_ms(row.ref, row.hyp, ends_s[row.id], row.emitted_s)
    ]
