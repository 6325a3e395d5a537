"""Peak resident memory of this process, by Linux's high-water mark (VmHWM, proc(5))."""

from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Written to clear_refs, resets VmHWM to the memory resident now (proc(5), since Linux 4.0)."""


def peak_bytes() -> int | None:
    """Return VmHWM in bytes, or None where the system does not tell it."""
    try:
        lines = _STATUS.read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def reset_peak() -> bool:
    """Lower the high-water mark to what is resident now; tell whether the system let us."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, "utf-8")
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class PeakMeter:
    """The rise of the high-water mark since the meter was started."""

    start_bytes: int | None
    was_reset: bool

    @classmethod
    def start(cls) -> "PeakMeter":
        """Begin: reset the mark where allowed and remember it."""
        was_reset = reset_peak()
        return cls(peak_bytes(), was_reset)

    def rise_bytes(self) -> int | None:
        """Return how far the mark rose, or None where it cannot be read."""
        now = peak_bytes()
        return None if now is None or self.start_bytes is None else now - self.start_bytes

    @property
    def note(self) -> str:
        """How the figure was made, for the report."""
        if self.start_bytes is None:
            return "this system has no VmHWM; not measured"
        reset = "reset" if self.was_reset else "not reset: a lower bound"
        return f"VmHWM after the run minus VmHWM after importing the runtime ({reset})"
