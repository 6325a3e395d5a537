"""Word errors of every numeric form of a net on test speech, clean and noisy; kept in files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from todm.core.artifact import load_artifact
from todm.core.report import Measurement, Verdict, environment
from todm.core.rng import derive_seed
from todm.data.augment import NoiseMixer
from todm.data.feature_cache import load_samples
from todm.data.manifest import Corpus, Utterance
from todm.decode.greedy import greedy
from todm.decode.streaming import encode_chunks, padded_features
from todm.metrics.bootstrap import Interval, difference_interval
from todm.metrics.wer import word_errors
from todm.runtimes import Precision, open_recogniser
from todm.runtimes.recogniser import StepsRecogniser

SEED = 0
POOLED_LIMIT = 0.06
"""Points that int8 may lose on all test sets together."""
POOLED_WORDS = 10_000
"""Words below which a pooled figure is not judged."""


@dataclass(frozen=True)
class TestSet:
    """Test utterances of a corpus at one noise level."""

    corpus: str
    utterances: tuple[Utterance, ...]
    snr_db: float | None
    noise: Path | None

    @property
    def name(self) -> str:
        """Corpus and level, such as ``fsdd_10db``."""
        return self.corpus if self.snr_db is None else f"{self.corpus}_{self.snr_db:g}db"


@dataclass(frozen=True)
class Rows:
    """Errors of one net in several forms, utterance by utterance."""

    ids: tuple[str, ...]
    words: tuple[int, ...]
    errors: Mapping[str, tuple[int, ...]]
    """By precision."""

    def joined(self, other: "Rows") -> "Rows":
        """Return both together, in the forms that both have."""
        shared = [p for p in self.errors if p in other.errors]
        return Rows(
            self.ids + other.ids,
            self.words + other.words,
            {p: self.errors[p] + other.errors[p] for p in shared},
        )


def test_sets(
    name: str, corpus: Corpus, snrs_db: Sequence[float], noise: Path | None, limit: int | None
) -> list[TestSet]:
    """Return a corpus's test split, clean and at each level."""
    utterances = corpus.cuts("test")[:limit]
    levels: list[float | None] = [None, *(snrs_db if noise is not None else ())]
    return [TestSet(name, utterances, level, noise) for level in levels]


def heard(forms: Mapping[Precision, Path], test: TestSet, work: Path) -> Rows:
    """Decode a test set by every form of a net, or read what was heard before.

    Args:
        forms: The bundle of each precision; all of one net.
        test: What is decoded.
        work: Where results are kept.
    """
    digests = {p: load_artifact(path, verify=False).digest for p, path in forms.items()}
    ids = [u.id for u in test.utterances]
    key = json.dumps([digests, test.name, str(test.noise), ids, environment().isa])
    place = work / "heard" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = place.with_suffix(".tmp")
        scratch.write_text(json.dumps(_decode(forms, test)), "utf-8")
        scratch.rename(place)
    found = json.loads(place.read_text("utf-8"))
    errors = {name: tuple(row) for name, row in found["errors"].items()}
    return Rows(tuple(f"{test.corpus}:{i}" for i in ids), tuple(found["words"]), errors)


def _decode(forms: Mapping[Precision, Path], test: TestSet) -> dict[str, object]:
    opened = {p: open_recogniser("ort", path, p) for p, path in forms.items()}
    mixer = None
    if test.noise is not None and test.snr_db is not None:
        mixer = NoiseMixer(test.noise, (test.snr_db, test.snr_db), "test")
    errors: dict[str, list[int]] = {precision: [] for precision in forms}
    words = []
    for utterance in test.utterances:
        samples_S = load_samples(utterance)
        if mixer is not None:
            rng = np.random.default_rng(derive_seed(SEED, test.name, utterance.id))
            samples_S = mixer.mix(samples_S, rng)
        words.append(len(utterance.text.split()))
        features_RF = padded_features(samples_S, next(iter(opened.values())).contract)
        for precision, recogniser in opened.items():
            assert isinstance(recogniser, StepsRecogniser)
            enc_KJ = encode_chunks(recogniser.steps, features_RF)
            hyp = recogniser.table.decode(greedy(recogniser.steps, enc_KJ).ids)
            errors[precision].append(word_errors([utterance.text], [hyp]).errors)
    return {"words": words, "errors": errors}


def deltas(name: str, rows: Rows) -> list[Measurement]:
    """Return WER(form) - WER(fp32) of each form, in points, with the paired 95 % interval."""
    words, isa = sum(rows.words), "+".join(environment().isa)
    found = []
    for precision, errors in rows.errors.items():
        if precision == "fp32":
            continue
        base = rows.errors["fp32"]
        delta = _interval(rows, base, errors)
        net = sum(errors) - sum(base)
        note = (
            f"{net:+d} word errors net; WER {100 * sum(base) / words:.2f} -> "
            f"{100 * sum(errors) / words:.2f} %; on {isa}"
        )
        found.append(
            Measurement(
                name=f"{name}.{precision}.wer_delta", value=delta.value, unit="points",
                low=delta.low, high=delta.high, n=words, note=note,
            )
        )  # fmt: skip
    return found


def _interval(rows: Rows, base: Sequence[int], errors: Sequence[int]) -> Interval:
    """Draw utterances; one that is in several noise levels is drawn with all of them."""
    return difference_interval(
        [100.0 * e for e in base],
        [100.0 * e for e in errors],
        [float(w) for w in rows.words],
        groups=rows.ids,
        seed=SEED,
    )


def pooled_verdict(measurement: Measurement) -> Verdict:
    """Judge a pooled delta of the shipped int8 form."""
    enough = measurement.n >= POOLED_WORDS
    status = "met" if measurement.value <= POOLED_LIMIT else "failed"
    return Verdict(
        name=measurement.name,
        status=status if enough else "not_judged",
        limit=POOLED_LIMIT,
        value=measurement.value if enough else None,
        unit="points",
        note=f"{measurement.n} words" if enough else f"{measurement.n} words, {POOLED_WORDS} asked",
    )
