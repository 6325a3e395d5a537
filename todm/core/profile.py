"""Device profiles: what a device runs and what a recogniser on it may cost."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from todm.core.errors import ConfigError
from todm.core.value import Value

Origin = Literal["measured", "emulated", "published", "chosen", "missing"]
BUDGET_UNITS = {
    "chunk_latency_p95_ms": "ms",
    "rtf": "s/s",
    "peak_ram_bytes": "B",
    "bundle_bytes": "B",
    "macs_per_audio_s": "MAC/s",
}
AllowedOp = Literal["todm.SsmScan", "com.microsoft.CausalConvWithState"]
"""Operators beyond ONNX's and ExecuTorch's own: todm's scan, which the user builds as a library
(``make native``), and ONNX Runtime's causal convolution with its state."""
STOCK_RUNTIMES = ("sherpa_onnx", "onnxruntime_web")
"""Runtimes that load no library of operators."""
LACKING_OPS: dict[str, set[AllowedOp]] = {
    "onnxruntime": set(),
    "sherpa_onnx": {"todm.SsmScan"},
    "onnxruntime_web": {"todm.SsmScan", "com.microsoft.CausalConvWithState"},
    "executorch": {"com.microsoft.CausalConvWithState"},
}
"""What a runtime does not have, or was not seen to run (the convolution in a browser)."""
TIMED_BUDGETS = ("chunk_latency_p95_ms", "rtf", "peak_ram_bytes")
"""Budgets that only a measurement on the device can judge; the others are exact arithmetic."""


class Budget(Value):
    """One limit, and where it comes from."""

    limit: float = Field(gt=0.0, allow_inf_nan=False)
    origin: Origin
    """Of the limit: ``chosen`` is todm's or the user's own decision."""
    source: str
    """Why this figure: a publication, a data sheet, a decision."""


class Figure(Value):
    """Something known (or not) of the device, shown beside its budgets."""

    name: str
    value: float | None = None
    unit: str = ""
    origin: Origin
    source: str = ""

    @model_validator(mode="after")
    def _missing_has_no_value(self) -> "Figure":
        if (self.origin == "missing") != (self.value is None):
            raise ValueError(
                f"figure {self.name!r}: a value and origin 'missing' exclude each other"
            )
        return self


class DeviceProfile(Value):
    """One device: a TOML file under hardware_profiles/ or a user's own."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    runtime: Literal["onnxruntime", "sherpa_onnx", "executorch", "onnxruntime_web"]
    runtime_version: str
    arch: str
    threads: int = Field(ge=1)
    chunk_frames: int = Field(ge=1, le=64)
    lookahead_frames: int | None = Field(default=None, ge=0)
    """Most later frames that a net may see; they lie in its chunk, so that a net which sees them
    answers no later. None: all that the chunk holds; 0 asks for a causal net."""
    numeric: Literal["fp32", "int8"]
    """Which of a bundle's numeric forms the device ships."""
    allowed_ops: tuple[AllowedOp, ...] = ()
    """Operators beyond the standard that its runtime has; an export then uses them."""
    is_this_host: bool = False
    """Latency and memory measured on the machine that runs todm judge this profile's budgets."""
    budgets: dict[str, Budget]
    figures: tuple[Figure, ...] = ()

    @model_validator(mode="after")
    def _budgets_known(self) -> "DeviceProfile":
        unknown = sorted(set(self.budgets) - set(BUDGET_UNITS))
        if unknown:
            raise ValueError(f"unknown budgets {unknown}; known: {sorted(BUDGET_UNITS)}")
        return self

    @model_validator(mode="after")
    def _ops_exist(self) -> "DeviceProfile":
        wrong = set(self.allowed_ops) & LACKING_OPS[self.runtime]
        if wrong:
            raise ValueError(f"{self.runtime} has no operator {sorted(wrong)}; leave it out")
        return self

    def judges(self, budget: str) -> bool:
        """Tell whether this machine can judge that budget for the device."""
        return self.is_this_host or budget not in TIMED_BUDGETS


def profiles_dir() -> Path:
    """Return the folder of the shipped profiles (in a checkout or an installed wheel)."""
    packaged = Path(__file__).resolve().parent.parent / "hardware_profiles"
    return packaged if packaged.is_dir() else packaged.parents[1] / "hardware_profiles"


def shipped_profiles() -> list[str]:
    """Return the names of the shipped profiles."""
    return sorted(path.stem for path in profiles_dir().glob("*.toml"))


def load_profile(name_or_path: str) -> DeviceProfile:
    """Load a profile by its shipped name or by the path of a TOML file.

    Raises:
        ConfigError: no such profile, no TOML, or a wrong key.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = profiles_dir() / f"{name_or_path}.toml"
        if not path.is_file():
            raise ConfigError(
                f"no device profile {name_or_path!r}; shipped: {', '.join(shipped_profiles())}; "
                "or give the path of a .toml file"
            )
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not readable as TOML ({error})") from error
    return DeviceProfile.parse(data, where=str(path))
