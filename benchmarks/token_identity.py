"""Do all runtimes hear the same tokens? Greedy tokens of five forms of a net, compared.

For every device: the training form in torch over whole recordings (``torch_offline``), torch chunk
by chunk (``torch_stream``), ONNX Runtime, stock sherpa-onnx and ExecuTorch, all in float32, on the
corpus that the nets were trained on. Two hypotheses are equal where the same token stands at the
same encoder frame. Every recording in which a pair differs is shown with the frame of its first
difference and the logit margins there; nothing is averaged away.

What each form heard is kept in a JSONL file, one line per net and form, so that a run that was
cut off goes on where it stopped.

    python benchmarks/token_identity.py --corpus CORPUS \
        --bundle mcu_arm=exports/mcu_arm --subnet mcu_arm=runs/mcu_arm ...
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from time import perf_counter

import torch
from arguments import add_quick_and_out, log_path, named_path, report_path, told
from kept import Kept
from pages import everything, made_with, page, write

from todm.bench.tokens import TokenJob, decode_apart
from todm.core.artifact import load_artifact
from todm.core.contract import contract_of
from todm.core.data_config import SPLITS, Split
from todm.core.errors import ArtifactError, ConfigError, DataError
from todm.core.report import Measurement, Report, environment
from todm.core.value import Value
from todm.data.manifest import Corpus, Utterance, open_corpus
from todm.decode.greedy import Hypothesis, first_mismatch, greedy
from todm.decode.streaming import padded_features
from todm.features.wav import read_audio
from todm.models.store import load_subnet
from todm.runtimes.bundle import open_bundle
from todm.runtimes.eager import EagerSteps

NAME = "token_identity"
REFERENCE = "torch_offline"
RUNTIMES = {"torch_stream": "torch", "ort": "ort", "sherpa": "sherpa", "executorch": "executorch"}
"""The runtime of each form but the reference; each decodes in a process of its own."""
DEFAULT_SPLITS: tuple[Split, ...] = ("test", "dev", "train")
SHOWN_MISMATCHES = 3
"""Mismatches in a measurement's note; all of them are printed."""


class Heard(Value):
    """What one form of a net made of the recordings."""

    recordings: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    frames: tuple[tuple[int, ...], ...]
    margins: tuple[tuple[float, ...], ...]
    """Of every encoder frame; empty where the runtime hides its logits."""
    audio_s: float

    @classmethod
    def of(cls, taken: Sequence[Utterance], found: Sequence[Hypothesis]) -> "Heard":
        """Gather the hypotheses of utterances."""
        return cls(
            recordings=tuple(utterance.id for utterance in taken),
            ids=tuple(h.ids for h in found),
            frames=tuple(h.frames for h in found),
            margins=tuple(tuple(float(f"{m:.6g}") for m in h.margins) for h in found),
            audio_s=sum(utterance.duration_s for utterance in taken),
        )

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """The hypothesis of each recording."""
        parts = zip(self.ids, self.frames, self.margins, strict=True)
        return [Hypothesis(*part) for part in parts]

    @property
    def num_tokens(self) -> int:
        """Tokens of all recordings."""
        return sum(map(len, self.ids))


@dataclass(frozen=True)
class Speech:
    """Where the recordings come from, and how much of them is wanted."""

    corpus: Corpus
    splits: tuple[Split, ...]
    minutes: float
    tokens: int

    @property
    def utterances(self) -> list[Utterance]:
        """All that may be taken, in their order."""
        return [utterance for split in self.splits for utterance in self.corpus.cuts(split)]

    @property
    def key(self) -> tuple[object, ...]:
        """What a result on this speech depends on."""
        return (self.corpus.artifact.digest, *self.splits, self.minutes, self.tokens)


class Log:
    """What was heard so far."""

    def __init__(self, path: Path) -> None:
        self._kept = Kept(path, "heard")

    def once(self, key: Sequence[object], label: str, hear: Callable[[], Heard]) -> Heard:
        """Return the result of that key, from the file or by hearing now."""
        name = json.dumps(list(key))
        if name in self._kept.found:
            print(f"{label}: heard before", flush=True)
            return Heard.parse(self._kept.found[name], where=str(self._kept.path))
        begin_s = perf_counter()
        heard = hear()
        self._kept.put(name, heard.to_json())
        print(
            f"{label}: {heard.num_tokens} tokens in {heard.audio_s / 60:.1f} min of speech, "
            f"{perf_counter() - begin_s:.0f} s",
            flush=True,
        )
        return heard


def hear_offline(subnet: Path, speech: Speech) -> Heard:
    """Decode recordings by the training form until there is enough speech and enough tokens.

    Raises:
        DataError: the splits end before.
    """
    torch.set_num_threads(1)
    opened = load_subnet(subnet)
    contract = contract_of(opened.spec, opened.table.unit)
    steps = EagerSteps(opened.model, opened.spec, contract)
    taken: list[Utterance] = []
    found: list[Hypothesis] = []
    have_s, tokens = 0.0, 0
    for utterance in speech.utterances:
        features_RF = padded_features(read_audio(utterance.audio_path), contract)
        found.append(greedy(steps, steps.encode_offline(features_RF[None])[0]))
        taken.append(utterance)
        have_s, tokens = have_s + utterance.duration_s, tokens + len(found[-1].ids)
        if have_s >= 60 * speech.minutes and tokens >= speech.tokens:
            return Heard.of(taken, found)
    raise DataError(
        f"{speech.corpus.artifact.path}: {', '.join(speech.splits)} give {have_s / 60:.1f} min and "
        f"{tokens} tokens of {subnet}, wanted {speech.minutes:g} min and {speech.tokens}; "
        "give more splits"
    )


def hear_stream(model: Path, runtime: str, taken: Sequence[Utterance]) -> Heard:
    """Decode the recordings as a stream, in a process of its own."""
    audio = tuple(utterance.audio_path.absolute() for utterance in taken)
    tokens = decode_apart(TokenJob(model=model.absolute(), runtime=runtime, audio=audio))
    return Heard.of(taken, [transcript.hypothesis for transcript in tokens.transcripts])


def hear_all(bundle: Path, subnet: Path, device: str, speech: Speech, log: Log) -> dict[str, Heard]:
    """Return what every form of a net heard.

    Raises:
        ArtifactError: the bundle was not made from that subnet, or lacks a form.
    """
    opened, source = open_bundle(bundle), load_artifact(subnet, "subnet")
    opened.loaded_names("onnx", "fp32")
    opened.loaded_names("executorch", "fp32")
    if opened.artifact.manifest.parents.get("subnet") != source.digest:
        raise ArtifactError(f"{bundle}: was not exported from {subnet}; give its own subnet")
    heard = {
        REFERENCE: log.once(
            (source.digest, REFERENCE, *speech.key),
            f"{device}, {REFERENCE}",
            lambda: hear_offline(subnet, speech),
        )
    }
    by_id = {utterance.id: utterance for utterance in speech.utterances}
    taken = [by_id[name] for name in heard[REFERENCE].recordings]
    for form, runtime in RUNTIMES.items():
        model, artifact = (subnet, source) if runtime == "torch" else (bundle, opened.artifact)
        heard[form] = log.once(
            (artifact.digest, form, len(taken), *speech.key),
            f"{device}, {form}",
            lambda model=model, runtime=runtime: hear_stream(model, runtime, taken),
        )
    return heard


@dataclass(frozen=True)
class Comparison:
    """Two forms of a net, token by token."""

    equal: int
    """Encoder frames with a token at which both have the same one."""
    total: int
    """Encoder frames at which either has a token."""
    mismatches: tuple[str, ...]
    """The first of each differing recording."""

    @property
    def match(self) -> float | None:
        """Share of equal tokens; None where neither has any, and so nothing was compared."""
        return self.equal / self.total if self.total else None


def compare(a: Heard, b: Heard) -> Comparison:
    """Compare two forms recording by recording."""
    equal, total, shown = 0, 0, []
    for name, one, other in zip(a.recordings, a.hypotheses, b.hypotheses, strict=True):
        at_a, at_b = ({*zip(h.frames, h.ids, strict=True)} for h in (one, other))
        here = len({*one.frames} | {*other.frames})
        equal, total = equal + len(at_a & at_b), total + here
        mismatch = first_mismatch(one, other)
        if mismatch is not None:
            shown.append(f"{name}, {mismatch} ({here - len(at_a & at_b)} of {here} tokens differ)")
    return Comparison(equal, total, tuple(shown))


def measurements_of(device: str, heard: Mapping[str, Heard]) -> list[Measurement]:
    """Compare each pair of forms, print what differs, and return the shares of equal tokens."""
    reference = heard[REFERENCE]
    count = len(reference.recordings)
    least = min(min(margins) for margins in reference.margins)
    figures = [
        ("audio_s", reference.audio_s, "s", f"{count} recordings"),
        ("tokens", float(reference.num_tokens), "tokens", "non-blank, torch offline"),
        ("least_margin", least, "logit", "clearest decision of all frames apart: the least clear"),
    ]
    found = [
        Measurement(name=f"parity.{name}.{device}", value=value, unit=unit, n=count, note=note)
        for name, value, unit, note in figures
    ]
    for a, b in combinations(heard, 2):
        result = compare(heard[a], heard[b])
        print(f"{device}: {b} vs {a}: {result.equal}/{result.total} tokens equal", flush=True)
        for line in result.mismatches:
            print(f"  {line}", flush=True)
        if result.match is None:
            print(f"  no token was heard: {b} vs {a} is not judged", flush=True)
            continue
        more = len(result.mismatches) - SHOWN_MISMATCHES
        lines = [*result.mismatches[:SHOWN_MISMATCHES], *([f"and {more} more"] if more > 0 else [])]
        found.append(
            Measurement(
                name=f"parity.{b}_vs_{a}.{device}",
                value=result.match,
                unit="",
                n=result.total,
                note="; ".join(lines) or f"all equal in {count} recordings",
            )
        )
    return found


def sherpa_match(by_device: Mapping[str, Mapping[str, Heard]]) -> list[Measurement]:
    """Return the share of tokens of all devices at which sherpa-onnx equals torch offline.

    Nothing where no token was heard: no share of nothing is a match.
    """
    found = [compare(heard[REFERENCE], heard["sherpa"]) for heard in by_device.values()]
    equal, total = sum(c.equal for c in found), sum(c.total for c in found)
    if not total:
        return []
    note = f"stock sherpa-onnx against torch offline, fp32: {', '.join(by_device)}"
    return [
        Measurement(name="sherpa.token_match", value=equal / total, unit="", n=total, note=note)
    ]


def token_identity(
    bundles: Mapping[str, Path],
    subnets: Mapping[str, Path],
    corpus: Path,
    *,
    log: Path,
    splits: tuple[Split, ...] = DEFAULT_SPLITS,
    minutes: float = 20.0,
    tokens: int = 5000,
) -> list[Measurement]:
    """Compare the five forms of every device's net on the corpus that it was trained on.

    Args:
        bundles: By device, exported with ``--target both``.
        subnets: What each bundle was exported from.
        corpus: The prepared corpus.
        log: JSONL file of what was heard; made if missing, read if not.
        splits: Where recordings are taken from, in this order.
        minutes: Least speech for each device.
        tokens: Least non-blank tokens of torch offline for each device.

    Raises:
        ConfigError: bundles and subnets name different devices, or none.
        DataError: the splits hold too little speech or the nets emit too few tokens.
        ArtifactError: a bundle without both forms, or of another subnet.
    """
    if not bundles or set(bundles) != set(subnets):
        raise ConfigError(f"bundles of {sorted(bundles)}, subnets of {sorted(subnets)}: give both")
    speech = Speech(open_corpus(corpus), splits, minutes, tokens)
    kept = Log(log)
    by_device = {
        device: hear_all(bundles[device], subnets[device], device, speech, kept)
        for device in bundles
    }
    found = [m for device, heard in by_device.items() for m in measurements_of(device, heard)]
    return [*sherpa_match(by_device), *found]


def render(report: Report) -> str:
    """Return the page."""
    what = (
        "Share of encoder frames with a token at which two forms of a net have the same one, "
        f"float32, greedy. {made_with(report.environment)}"
    )
    return page("# Token identity", what, everything(report.measurements, ".7g"))


def main() -> None:
    """Compare, print, and write the report and its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--bundle", type=named_path, action="append", required=True, help="DEVICE=BUNDLE")
    add("--subnet", type=named_path, action="append", required=True, help="DEVICE=SUBNET")
    add("--corpus", type=Path, required=True, help="the prepared corpus")
    add("--splits", nargs="+", choices=SPLITS, default=DEFAULT_SPLITS, help="in this order")
    add("--minutes", type=float, default=20.0, help="least speech [20]")
    add("--tokens", type=int, default=5000, help="least tokens [5000]")
    add("--log", type=Path, help=f"what was heard so far [runs/{NAME}.jsonl, or beside --out]")
    add_quick_and_out(parser, NAME, quick="20 s of speech and 20 tokens")
    args = parser.parse_args()
    minutes, tokens = (1 / 3, 20) if args.quick else (args.minutes, args.tokens)
    measurements = token_identity(
        dict(args.bundle), dict(args.subnet), args.corpus,
        log=log_path(args, NAME),
        splits=tuple(args.splits), minutes=minutes, tokens=tokens,
    )  # fmt: skip
    report = Report(environment=environment(), measurements=tuple(measurements))
    write(report, render(report), report_path(args, NAME))


if __name__ == "__main__":
    sys.exit(told(NAME, main))
