"""Reports: measurements with their environment, and verdicts on budgets."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

from todm.core.profile import BUDGET_UNITS, DeviceProfile
from todm.core.value import Value


class Measurement(Value):
    """One figure. WER and its deltas are percent points, ratios plain fractions."""

    name: str
    value: float
    unit: str
    low: float | None = None
    """Lower end of the interval, where there is one."""
    high: float | None = None
    n: int = 1
    note: str = ""


class Verdict(Value):
    """The judgement of one budget or gate."""

    name: str
    status: Literal["met", "failed", "not_judged"]
    limit: float
    value: float | None
    unit: str
    note: str = ""


class Environment(Value):
    """Where, when and with what a report was made."""

    machine: str
    cpu: str
    isa: tuple[str, ...]
    cores: int
    python: str
    versions: dict[str, str]
    commit: str
    command: str
    seeds: tuple[int, ...]
    date: str


class Report(Value):
    """Measurements and verdicts, as ``benchmarks/results/NAME.json`` and artifacts hold them."""

    environment: Environment
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...] = ()

    def value(self, name: str) -> float:
        """Return the value of the measurement with that name."""
        return next(m.value for m in self.measurements if m.name == name)


_PACKAGES = (
    "torch",
    "onnx",
    "onnxruntime",
    "executorch",
    "sherpa-onnx",
    "lhotse",
    "numpy",
    "pandas",
    "statsforecast",
)
_ISA_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm")


def environment(seeds: Iterable[int] = ()) -> Environment:
    """Describe this machine, its packages, this checkout and this command."""
    model, flags = _cpu()
    return Environment(
        machine=f"{platform.system()} {platform.machine()}",
        cpu=model,
        isa=tuple(flag for flag in _ISA_FLAGS if flag in flags),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        python=platform.python_version(),
        versions=_versions(),
        commit=_commit(),
        command=" ".join([Path(sys.argv[0]).name, *map(_portable, sys.argv[1:])]),
        seeds=tuple(seeds),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _portable(argument: str) -> str:
    """Return an argument without this machine's folders: of an absolute path the last part."""
    name, equals, value = argument.rpartition("=")
    return f"{name}{equals}{Path(value).name}" if Path(value).is_absolute() else argument


def _cpu() -> tuple[str, frozenset[str]]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or platform.machine(), frozenset()
    fields: dict[str, str] = {}
    for line in path.read_text("utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", fields.get("Features", ""))
    return fields.get("model name", platform.machine()), frozenset(flags.split())


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    try:
        out = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return out.stdout.strip() or "unknown"


def judge(profile: DeviceProfile, values: dict[str, float]) -> tuple[Verdict, ...]:
    """Judge each of a profile's budgets by the values at hand.

    A budget without a value, or one that this machine cannot judge for the device, is
    ``not_judged``, never met.
    """
    verdicts = []
    for name, budget in profile.budgets.items():
        value = values.get(name) if profile.judges(name) else None
        if value is None:
            why = "not measured" if profile.judges(name) else "needs a measurement on the device"
            status: Literal["met", "failed", "not_judged"] = "not_judged"
        else:
            why, status = budget.source, "met" if value <= budget.limit else "failed"
        verdicts.append(
            Verdict(
                name=name,
                status=status,
                limit=budget.limit,
                value=value,
                unit=BUDGET_UNITS[name],
                note=why,
            )
        )
    return tuple(verdicts)
