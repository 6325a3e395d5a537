"""What do int8, int4 and float16 cost and bring? Word errors, drift, bytes, latency.

For every net (a subnet trained on a corpus): the int8 forms that its accuracy gate ships, and the
other schemes as they are; WER differences on test speech, clean and at noise levels, each with its
paired interval, and all sets together; the drift gate over ten minutes. For random nets of the size
that int8 is meant for: bytes and paced latency, forms in turns. A net is called SET.SIZE, where SET
is one of the corpora. A run that was cut off goes on where it stopped.

    python benchmarks/quantization.py --work runs/quantization \
        --corpus fsdd=runs/fsdd --net fsdd.large=runs/fsdd_large --net fsdd.small=... \
        --noise FOLDER --snr 20 10 5
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from arguments import named_path, told
from pages import QUICK, RESULTS, everything, made_with, page, write
from quantization_speed import QUICK_SIZES, SIZES, cost_gap, linears_ratio
from quantization_speed import measure as measure_speed
from quantization_wer import Rows, deltas, heard, pooled_verdict, test_sets

from todm.core.artifact import Artifact, is_complete, load_artifact
from todm.core.errors import ConfigError, GateError
from todm.core.profile import load_profile
from todm.core.quality import Quality
from todm.core.quantization import ExportConfig, GateConfig
from todm.core.report import Measurement, Report, Verdict, environment
from todm.core.specs import SubnetSpec
from todm.data.manifest import open_corpus
from todm.export.forms import bundle_bytes
from todm.flows.export import export_subnet
from todm.runtimes import Precision
from todm.runtimes.bundle import QUALITY, SPEC, onnx_name

NAME, PARTS = "quantization", ("trained", "speed")
HOST = load_profile("this_host")
GATED: tuple[Precision, ...] = ("int8", "int8_block")
OTHERS: tuple[Precision, ...] = ("int8_static", "int4", "fp16")
QUICK_GATE = GateConfig(utterances=4, ranking_utterances=1, drift_s=20.0)
QUICK_LIMIT = 4


def exported(subnet: Path, corpus: Path, out: Path, config: ExportConfig) -> tuple[Artifact, str]:
    """Export a net, or return the bundle of an earlier run, and how it was gated.

    int8 whose gate cannot hold is exported without it, so that its cost is on record as well.
    """
    digest = load_artifact(subnet, "subnet").digest
    if is_complete(out, "bundle"):
        bundle = load_artifact(out, "bundle", verify=False)
        if bundle.manifest.parents.get("subnet") == digest:
            return bundle, _gating(bundle)
    try:
        bundle = export_subnet(
            subnet, out, target="onnx", profile=HOST, corpus=corpus, config=config
        )
    except GateError as error:
        print(f"{out.name}: {error}", flush=True)
        loose = config.model_copy(update={"ungated": True})
        bundle = export_subnet(
            subnet, out, target="onnx", profile=HOST, corpus=corpus, config=loose
        )
    return bundle, _gating(bundle)


def _gating(bundle: Artifact) -> str:
    quality = Quality.read_json(bundle.file(QUALITY))
    said = []
    for record in quality.gate:
        count = len(record.scheme.fallbacks)
        said.append(f"{record.scheme.precision} {record.status}, {count} layers in float32")
    return "; ".join(said)


def forms_of(
    subnet: Path, corpus: Path, name: str, work: Path, gate: GateConfig
) -> dict[str, Path]:
    """Return the bundle of each precision of a net: int8 gated, the others as they are."""
    forms: dict[str, Path] = {}
    for precision in GATED:
        own = ExportConfig(precisions=(precision,), gate=gate)
        shipped, said = exported(subnet, corpus, work / f"{name}.{precision}", own)
        print(f"{name}: {said}", flush=True)
        forms.setdefault("fp32", shipped.path)
        forms[precision] = shipped.path
    rest = ExportConfig(precisions=OTHERS, gate=gate, ungated=True)
    others, _ = exported(subnet, corpus, work / f"{name}.others", rest)
    present = {p: others.path for p in OTHERS if onnx_name("encoder", p) in others.manifest.files}
    return {**forms, **present}


def drift_figures(name: str, bundles: Sequence[Path]) -> tuple[list[Measurement], list[Verdict]]:
    """Return what the drift gate found of every form, the withheld ones included."""
    records = {
        record.precision: record
        for path in reversed(bundles)
        for record in Quality.read_json(path / QUALITY).drift
    }
    measurements, verdicts = [], []
    for precision, record in records.items():
        note = f"{record.audio_s / 60:.3g} min of joined dev speech against {record.reference}"
        figures = {"rel_rms": record.rel_rms, "last_over_first": record.last_over_first}
        measurements += [
            Measurement(
                name=f"{name}.{precision}.{figure}",
                value=value,
                unit="",
                note=f"{value:.3g}; {note}",
            )
            for figure, value in figures.items()
        ]
        verdicts += [
            v.model_copy(update={"name": f"{name}.{precision}.{v.name.rpartition('.')[2]}"})
            for v in record.verdicts()
        ]
    return measurements, verdicts


def size_figures(name: str, bundles: Mapping[str, Path]) -> list[Measurement]:
    """Return bytes over float32 of every form of a trained net, and the int8 forms' arithmetic."""
    found = []
    for precision, path in bundles.items():
        if precision == "fp32":
            continue
        sizes = bundle_bytes(path)
        ratio = sizes[f"onnx.{precision}"] / sizes["onnx.fp32"]
        found.append(Measurement(name=f"{name}.{precision}.bytes_ratio", value=ratio, unit=""))
    for precision in GATED:
        shipped = bundles[precision]
        scheme = Quality.read_json(shipped / QUALITY).gate[0].scheme
        if scheme.fallbacks == type(scheme)().fallbacks:
            spec = SubnetSpec.read_json(shipped / SPEC)
            found.append(cost_gap(name, precision, spec, bundle_bytes(shipped), shipped))
            found.append(linears_ratio(name, precision, shipped))
    return found


class Run:
    """One run's nets, corpora and settings."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.corpora, self.nets, self.work = dict(args.corpus), dict(args.net), args.work
        self.snrs_db, self.noise, self.quick = args.snr, args.noise, args.quick
        self.as_is = tuple(args.as_is)
        self.gate = QUICK_GATE if args.quick else GateConfig()
        odd = [net for net in self.nets if net.partition(".")[0] not in self.corpora]
        if odd:
            raise ConfigError(f"--net {odd[0]}: no --corpus {odd[0].partition('.')[0]}; give it")
        strange = [name for name in self.as_is if name not in self.corpora]
        if strange:
            raise ConfigError(f"--as-is {strange[0]}: no --corpus {strange[0]}; give it")

    def trained(self) -> tuple[list[Measurement], list[Verdict], list[Measurement], list[Verdict]]:
        """Return the figures and verdicts of WER, then those of drift."""
        wer: list[Measurement] = []
        drift: list[Measurement] = []
        drift_verdicts: list[Verdict] = []
        pooled: dict[str, Rows] = {}
        for net, subnet in self.nets.items():
            corpus, _, size = net.partition(".")
            forms = forms_of(subnet, self.corpora[corpus], net, self.work, self.gate)
            paths = [self.work / f"{net}.{bundle}" for bundle in (*GATED, "others")]
            measured, judged = drift_figures(net, paths)
            drift, drift_verdicts = drift + measured, drift_verdicts + judged
            wer += size_figures(net, forms)
            for rows in self._sets(corpus, size, forms, wer):
                pooled[size] = pooled[size].joined(rows) if size in pooled else rows
        verdicts = []
        for size, rows in pooled.items():
            together = deltas(f"pooled.{size}", rows)
            wer += together
            verdicts += [pooled_verdict(m) for m in together if m.name.split(".")[2] in GATED]
        return wer, verdicts, drift, drift_verdicts

    def _sets(
        self, corpus: str, size: str, forms: Mapping[str, Path], wer: list[Measurement]
    ) -> list[Rows]:
        opened = open_corpus(self.corpora[corpus], verify=False)
        limit = QUICK_LIMIT if self.quick else None
        found = []
        noise = None if corpus in self.as_is else self.noise
        for test in test_sets(corpus, opened, self.snrs_db, noise, limit):
            rows = heard(forms, test, self.work)  # type: ignore[arg-type]
            wer += deltas(f"{test.name}.{size}", rows)
            print(f"{test.name}.{size}: {sum(rows.words)} words", flush=True)
            found.append(rows)
        return found


def render(title: str, report: Report) -> str:
    """Return a report's page."""
    judged = "\n".join(
        f"- {v.name}: {v.status.replace('_', ' ')} ({'-' if v.value is None else f'{v.value:.4g}'},"
        f" limit {v.limit:g})"
        for v in report.verdicts
    )
    where = made_with(report.environment)
    return page(f"# {title}", where, judged, everything(report.measurements))


def main() -> None:
    """Measure the parts asked for and write the reports."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--corpus", type=named_path, action="append", default=[], help="SET=CORPUS; repeat")
    add("--net", type=named_path, action="append", default=[], help="SET.SIZE=SUBNET; repeat")
    add("--noise", type=Path, help="folder of noise recordings; without it speech stays clean")
    add("--snr", type=float, nargs="*", default=[20.0, 10.0, 5.0], help="in dB [20 10 5]")
    add("--as-is", nargs="*", default=[], help="sets that get no noise: they have their own")
    add("--work", type=Path, help="a run that was cut off goes on there [runs/quantization]")
    add("--only", nargs="+", choices=PARTS, help="writes into --work, as a run without --net does")
    add("--quick", action="store_true", help="a few utterances, a tiny net; writes into --work")
    add("--out", type=Path, help="folder of the reports [benchmarks/results]")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work = args.work or (QUICK / NAME if args.quick else Path("runs") / NAME)
    args.work.mkdir(parents=True, exist_ok=True)
    partial = args.quick or args.only or not args.net
    out = args.out or (args.work if partial else RESULTS)
    parts = args.only or PARTS
    made = environment((0,))  # before the first report changes the working tree
    measurements: list[Measurement] = []
    verdicts: list[Verdict] = []
    if "trained" in parts and args.net:
        measurements, verdicts, drift, drift_verdicts = Run(args).trained()
        report = Report(environment=made, measurements=tuple(drift), verdicts=tuple(drift_verdicts))
        write(report, render("Drift over one long stream", report), out / "drift.json")
    if "speed" in parts:
        sizes = QUICK_SIZES if args.quick else SIZES
        repeats, paced_s = (1, 1.0) if args.quick else (3, 10.0)
        measured, judged = measure_speed(sizes, args.work, repeats=repeats, paced_s=paced_s)
        measurements, verdicts = measurements + measured, verdicts + judged
    report = Report(environment=made, measurements=tuple(measurements), verdicts=tuple(verdicts))
    write(report, render("Quantization", report), out / f"{NAME}.json")


if __name__ == "__main__":
    sys.exit(told(NAME, main))
