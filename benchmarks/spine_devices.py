"""Devices and their nets: extracted, exported in both forms, sized, timed and evaluated."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from spine_score import delay_measurements, delta_measurement, wer_measurement
from spine_system import System

from todm.bench.run import PROFILE_RUNTIMES, BenchConfig, run_many
from todm.core.artifact import Artifact, write_artifact
from todm.core.cost import macs_per_audio_s, num_parameters
from todm.core.errors import ConfigError
from todm.core.profile import DeviceProfile, load_profile
from todm.core.quantization import ExportConfig
from todm.core.report import Measurement, Report, environment
from todm.core.search_config import SearchConfig
from todm.core.specs import SubnetSpec
from todm.core.target import Form
from todm.evaluate.run import REPORT
from todm.extract.run import run as run_extract
from todm.flows.export import export_or_float, export_subnet
from todm.flows.extract import extract_for_device
from todm.flows.speech import speech_for
from todm.models.store import SPEC
from todm.runtimes.bundle import Precision, loaded_names, open_bundle
from todm.search.run import run as run_search

MAIN_DEVICE = "this_host"
"""Whose int8 delta stands for all: the device with the most room, that ships int8."""
FORMS: tuple[tuple[Form, Precision], ...] = (
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("executorch", "fp32"),
)
TIMED = {"latency_ms.p50": "ms", "latency_ms.p95": "ms", "rtf": "s/s"}


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """Which devices, and how their nets are found."""

    names: tuple[str, ...]
    search: SearchConfig
    measured: bool
    """Export and time candidates, as ``todm extract`` does; off, bytes are arithmetic."""
    export: ExportConfig


@dataclass(frozen=True)
class Shipped:
    """A device's net from one supernet, and its bundle in both forms."""

    profile: DeviceProfile
    subnet: Artifact
    bundle: Artifact

    @property
    def spec(self) -> SubnetSpec:
        """The network."""
        return SubnetSpec.read_json(self.subnet.file(SPEC))

    @property
    def runtime(self) -> str:
        """The runtime here that stands for the device's."""
        return PROFILE_RUNTIMES[self.profile.runtime]

    @property
    def form(self) -> str:
        """What the device runs, in words."""
        return f"{self.runtime} {self.profile.numeric}"


class Devices:
    """The devices' nets of one system."""

    def __init__(self, system: System, plan: DevicePlan, shapes: "Devices | None" = None) -> None:
        """Keep the system; nets are made when asked for.

        Args:
            system: the corpus and its supernet.
            plan: which devices, and how their nets are found.
            shapes: take the architectures of these devices instead of searching.
        """
        self.system, self.plan, self.shapes = system, plan, shapes

    @cached_property
    def all(self) -> dict[str, Shipped]:
        """Every device's net, exported with parity checked, by name."""
        return {name: self._ship(load_profile(name)) for name in self.plan.names}

    @cached_property
    def _front(self) -> Artifact:
        system = self.system
        return system.book.run(
            f"{system.plan.name}.front",
            "front",
            [self.plan.search.to_json(), system.supernet.digest],
            lambda out: run_search(self.plan.search, system.supernet.path, system.corpus.path, out),
            silent=False,
        )

    def _ship(self, profile: DeviceProfile) -> Shipped:
        system, config = self.system, self.plan.export
        subnet = self._extract(profile) if self.shapes is None else self._transfer(profile.name)
        # A shape that was found on another corpus may be refused int8.
        export_here = export_subnet if self.shapes is None else export_or_float
        bundle = system.book.run(
            f"{system.plan.name}.{profile.name}.bundle",
            "bundle",
            [profile.to_json(), subnet.digest, config.to_json()],
            lambda out: export_here(
                subnet.path,
                out,
                target="both",
                profile=profile,
                corpus=system.corpus.path,
                config=config,
            ),
        )
        return Shipped(profile, subnet, bundle)

    def _extract(self, profile: DeviceProfile) -> Artifact:
        system = self.system
        supernet, front, corpus = (a.path for a in (system.supernet, self._front, system.corpus))

        def extract(out: Path) -> None:
            if self.plan.measured:
                extract_for_device(supernet, front, profile, out, corpus=corpus)
            else:
                run_extract(supernet, front, profile, corpus, out)

        return system.book.run(
            f"{system.plan.name}.{profile.name}.subnet",
            "subnet",
            [profile.to_json(), self._front.digest, self.plan.measured],
            extract,
        )

    def _transfer(self, name: str) -> Artifact:
        """Return the net of this supernet with the architecture that the device got elsewhere."""
        if self.shapes is None:
            raise ConfigError(f"{name}: no shapes to take")
        shape, space = self.shapes.all[name].spec, self.system.config.space
        axes = ("blocks", "joiner_dim", "chunk_frames", "lookahead_frames")
        taken = {key: getattr(shape, key) for key in axes}
        spec = space.largest.model_copy(update=taken)
        if not space.contains(spec):
            raise ConfigError(
                f"{name}: {shape.short_name} is none of recipe {self.system.plan.recipe!r}'s nets; "
                "give both recipes one space"
            )
        return self.system.subnet(name, spec)


def size_measurements(devices: Devices) -> list[Measurement]:
    """Return what each form of each device loads."""
    found = []
    for name, shipped in devices.all.items():
        bundle, spec = open_bundle(shipped.bundle.path), shipped.spec
        for form, precision in FORMS:
            files = bundle.loaded_names(form, precision)
            size = sum(shipped.bundle.file(file).stat().st_size for file in files)
            note = (
                f"{spec.short_name}: {num_parameters(spec)} parameters, "
                f"{macs_per_audio_s(spec) / 1e6:.1f} M MAC per s of audio"
            )
            found.append(
                Measurement(
                    name=f"bytes.{name}.{form}.{precision}", value=size, unit="B", note=note
                )
            )
    return found


def timed_measurements(devices: Devices, config: BenchConfig) -> list[Measurement]:
    """Time every device's shipped form on this machine, interleaved, in processes of their own."""
    shipped = devices.all
    made = devices.system.book.run(
        f"{devices.system.plan.name}.bench",
        "report",
        [config.to_json(), {name: s.bundle.digest for name, s in shipped.items()}],
        lambda out: _bench(devices, config, out),
        silent=False,
    )
    return list(Report.read_json(made.file(REPORT)).measurements)


def _bench(devices: Devices, config: BenchConfig, out: Path) -> None:
    models = {name: shipped.bundle.path for name, shipped in devices.all.items()}
    profiles = {name: shipped.profile for name, shipped in devices.all.items()}
    corpus = devices.system.corpus.path
    speech = speech_for(models[MAIN_DEVICE], (), corpus, config.seconds)
    reports = run_many(models, speech, config, profiles=profiles)
    found = [
        measurement.model_copy(update={"name": f"{measurement.name}.{name}"})
        for name, report in reports.items()
        for measurement in report.measurements
        if measurement.name in TIMED
    ]
    parents = {name: shipped.bundle for name, shipped in devices.all.items()}
    with write_artifact(out, kind="report", parents=parents) as draft:
        Report(environment=environment(), measurements=tuple(found)).write_json(draft.path / REPORT)
        draft.body = {"of": "bench", "devices": list(models)}


def shipped_measurements(devices: Devices) -> list[Measurement]:
    """Return WER and emission delay of what each device runs."""
    system, found = devices.system, []
    for name, shipped in devices.all.items():
        made = system.evaluation(name, shipped.bundle, shipped.runtime, shipped.profile.numeric)
        note = f"{shipped.form}, {system.plan.test_speech}"
        found.append(wer_measurement(f"{system.plan.name}.wer.{name}", system.rows(made), note))
        found += delay_measurements(name, made, shipped.form)
    return found


def int8_measurements(devices: Devices) -> list[Measurement]:
    """Return how much worse int8 is than fp32 in ONNX Runtime, the main device's first.

    And how many devices' nets the gate of their export left without int8, for their dev WER.
    """
    system = devices.system
    title = f"int8.{system.plan.name}.wer_delta"
    by_device = {
        name: _int8_delta(system, f"{title}.{name}", name, shipped)
        for name, shipped in devices.all.items()
        if loaded_names("onnx", "int8", frozenset(shipped.bundle.manifest.files))
    }
    withheld = [name for name in devices.all if name not in by_device]
    main = by_device[MAIN_DEVICE]
    return [
        main.model_copy(update={"name": title, "note": f"{MAIN_DEVICE}: {main.note}"}),
        *by_device.values(),
        Measurement(
            name=f"int8.{system.plan.name}.withheld",
            value=len(withheld),
            unit="nets",
            n=len(devices.all),
            note=", ".join(withheld),
        ),
    ]


def _int8_delta(system: System, title: str, name: str, shipped: Shipped) -> Measurement:
    fp32, int8 = (
        system.rows(system.evaluation(name, shipped.bundle, "ort", precision))
        for precision in ("fp32", "int8")
    )
    before, after = (100 * sum(rows.errors) / rows.num_words for rows in (fp32, int8))
    note = f"int8 {after:.2f} % - fp32 {before:.2f} %, ONNX Runtime, {system.plan.test_speech}"
    return delta_measurement(title, fp32, int8, note)


def named_measurements(system: System, *, delays: bool) -> list[Measurement]:
    """Return WER (and emission delays) of the largest, the middle and the smallest net."""
    found: list[Measurement] = []
    for name, spec in system.config.space.named().items():
        made = system.evaluation(name, system.subnet(name, spec), None, "fp32")
        note = f"{num_parameters(spec)} parameters, {system.plan.test_speech}"
        found.append(wer_measurement(f"{system.plan.name}.wer.{name}", system.rows(made), note))
        found += delay_measurements(name, made, "torch fp32, streamed") if delays else []
    return found


def bundles_of(devices: Devices) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the paths of bundles and of the subnets that they were made from."""
    bundles = {name: shipped.bundle.path for name, shipped in devices.all.items()}
    return bundles, {name: shipped.subnet.path for name, shipped in devices.all.items()}
