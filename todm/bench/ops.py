"""Where a chunk's time goes inside an ExecuTorch program, operator by operator (ETDump).

A process of its own: ``python -m todm.bench.ops`` reads a job, prints one JSON. Portable operators
are timed to the nanosecond, those inside XNNPACK by its own clock, which ticks in microseconds:
single ones round to zero, so only their sums over many chunks say something.
"""

import contextlib
import io
import re
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from todm.bench.protocol import ask, serve
from todm.core.errors import ArtifactError, MissingExtraError
from todm.core.report import Measurement
from todm.core.value import Value
from todm.runtimes.bundle import open_bundle
from todm.runtimes.executorch import load_kernels
from todm.runtimes.native import library_of

CHILD: tuple[str, ...] = (sys.executable, "-m", "todm.bench.ops")
LIMIT_S = 300.0
WHOLE_CALLS = ("DELEGATE_CALL", "OPERATOR_CALL")
"""Events that contain others: the interpreter's call of a delegate, or of a portable operator."""


class OpsJob(Value):
    """One profile of a bundle's encoder."""

    model: Path
    chunks: int = Field(default=200, ge=2)


class OpTimes(Value):
    """Microseconds of a chunk, after the first: the mean of those that nothing interrupted."""

    portable_us: dict[str, float]
    """By operator, all of its calls in a chunk together."""
    delegate_us: dict[str, float]
    calls_us: dict[str, float]
    """Of ``WHOLE_CALLS``."""


def profile_ops(bundle: Path, chunks: int = 200) -> list[Measurement]:
    """Profile the encoder of a bundle's program; return the time of each operator.

    Raises:
        ArtifactError: no bundle with an ExecuTorch program.
        MissingExtraError: executorch is not installed.
    """
    job = OpsJob(model=bundle, chunks=chunks)
    answer = ask(CHILD, job, subject=f"{bundle} in executorch", threads=1, limit_s=LIMIT_S)
    times = OpTimes.parse(answer, where="the profile's answer")
    result = []
    for kind, found in (
        ("call", times.calls_us),
        ("portable", times.portable_us),
        ("delegate", times.delegate_us),
    ):
        for name, us in sorted(found.items(), key=lambda item: -item[1]):
            slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
            result.append(
                Measurement(
                    name=f"op_us.{kind}.{slug}", value=us, unit="us", n=chunks - 1,
                    note=f"encoder, a chunk, ETDump: {name}",
                )
            )  # fmt: skip
    return result


def profile(job: OpsJob) -> OpTimes:
    """Profile in this process."""
    try:
        import torch
        from executorch.devtools import Inspector
        from executorch.extension.pybindings import portable_lib
    except ImportError as error:
        raise MissingExtraError("executorch", extra="executorch") from error
    bundle = open_bundle(job.model)
    portable_lib._unsafe_reset_threadpool(1)
    if (library := library_of(bundle, "executorch")) is not None:
        load_kernels(library)
    module = portable_lib._load_for_executorch(str(bundle.pte_file("fp32")), enable_etdump=True)
    contract = bundle.contract
    x_1TF = torch.randn(1, contract.input_frames, contract.features.num_bins)
    state_1S = torch.zeros(1, contract.state_floats)
    for _ in range(job.chunks):
        state_1S = module.run_method("encoder", (x_1TF, state_1S))[1].clone()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dump = Path(folder) / "chunks.etdp"
        module.write_etdump_result_to_file(str(dump))
        with contextlib.redirect_stdout(io.StringIO()):
            blocks = Inspector(etdump_path=str(dump)).event_blocks
    return times_of(blocks, job.chunks)


def times_of(blocks: Any, chunks: int) -> OpTimes:
    """Sum the events of all chunks but the first by operator.

    Raises:
        ArtifactError: no event was written.
    """
    sums: dict[str, dict[str, float]] = {k: defaultdict(float) for k in ("p", "d", "c")}
    for block in blocks:
        for event in block.events:
            raw_ms = [] if event.perf_data is None else event.perf_data.raw
            if block.name != "Execute" or len(raw_ms) != chunks:
                continue
            name = re.sub(r" #\d+$", "", event.name).removeprefix("native_call_")
            kind = "c" if name in WHOLE_CALLS else "d" if event.is_delegated_op else "p"
            sums[kind][name] += 1000.0 * undisturbed_mean(raw_ms[1:])
    if not sums["c"]:
        raise ArtifactError("ExecuTorch wrote no events; its build lacks the event tracer")
    # The method's own event contains everything.
    calls = {name: us for name, us in sums["c"].items() if us}
    inner = {n: us for n, us in sums["p"].items() if not n.startswith("Method::")}
    return OpTimes(portable_us=inner, delegate_us=dict(sums["d"]), calls_us=calls)


def undisturbed_mean(values: Sequence[float]) -> float:
    """Return the mean of the lower nine tenths: other work interrupts a call now and then."""
    kept = sorted(values)[: max(1, len(values) * 9 // 10)]
    return sum(kept) / len(kept)


def main() -> int:
    """Read a job from stdin, profile, print the answer."""
    return serve(lambda request: profile(OpsJob.parse(request, where="job on stdin")))


if __name__ == "__main__":
    sys.exit(main())
