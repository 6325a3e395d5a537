"""Runs one form of the transducer loss at a time, for rnnt_loss.py: ours, torchaudio's or k2's.

Runs under todm's own Python for our forms, and under Python 3.9 with k2 and torchaudio for theirs;
nothing of todm is imported for those. Reads one job a line from standard input as JSON and answers
with a line of JSON:

    {"form": "k2_pruned", "shape": {"batch": 8, ...}, "repeats": 3}     -> {"ms": [..], "loss": ..}

``--memory JOB`` instead runs one job once and answers with {"bytes": ..}: the peak of the resident
set less what was resident just before the loss, inputs included there.

    python rnnt_worker.py [--memory JOB]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor

LM_SCALE = 0.25
SIMPLE_SCALE = 0.5
BLANK = 0


class Inputs:
    """An additive joiner's two summands with ragged lengths, the same under every torch."""

    def __init__(self, shape: dict[str, Any]) -> None:
        batch, frames, labels = shape["batch"], shape["frames"], shape["labels"]
        symbols = shape["symbols"]
        self.width = min(shape["s_range"], labels + 1)
        # a ladder of lengths from the shortest to the longest, in a fixed shuffled order
        rungs_B = torch.linspace(shape["shortest"], 1.0, batch)
        rungs_B = rungs_B[torch.randperm(batch, generator=torch.Generator().manual_seed(batch))]
        self.frame_lens_B = (rungs_B * frames).round().long().clamp(min=1)
        self.target_lens_B = (rungs_B * labels).round().long().clamp(min=1)
        g = torch.Generator().manual_seed(shape["seed"])
        self.am_BTV = torch.randn(batch, frames, symbols, generator=g).requires_grad_()
        self.lm_BUV = torch.randn(batch, labels + 1, symbols, generator=g).requires_grad_()
        self.targets_BU = torch.randint(1, symbols, (batch, labels), generator=g)

    @property
    def boundary_B4(self) -> Tensor:  # noqa: N802 - shape suffix
        """k2's lengths."""
        zero_B = torch.zeros_like(self.frame_lens_B)
        return torch.stack((zero_B, zero_B, self.target_lens_B, self.frame_lens_B), 1)

    def logits_BTUV(self) -> Tensor:  # noqa: N802 - shape suffix
        """The full lattice."""
        return self.am_BTV[:, :, None] + self.lm_BUV[:, None]


def ours_full(x: Inputs) -> Tensor:
    """todm's exact loss over the full lattice."""
    from todm.losses.transducer import transducer_loss

    found = transducer_loss(x.logits_BTUV(), x.targets_BU, x.frame_lens_B, x.target_lens_B)
    return found.loss_B.sum()


def ours_pruned(x: Inputs) -> Tensor:
    """todm's simple loss, kept positions and pruned loss."""
    from todm.losses.backends import open_backend
    from todm.models.joiner import take_kept

    backend, lens = open_backend("native"), (x.frame_lens_B, x.target_lens_B)
    assert backend.simple is not None
    assert backend.pruned is not None
    simple_B, start_BT = backend.simple(
        x.am_BTV, x.lm_BUV, x.targets_BU, *lens, width=x.width, lm_scale=LM_SCALE
    )
    logits_BTSV = take_kept(x.lm_BUV, start_BT, x.width) + x.am_BTV[:, :, None]
    pruned = backend.pruned(logits_BTSV, x.targets_BU, start_BT, *lens)
    return (SIMPLE_SCALE * simple_B + pruned.loss_B).sum()


def torchaudio_full(x: Inputs) -> Tensor:
    """torchaudio's loss."""
    from torchaudio.functional import rnnt_loss

    lens = (x.frame_lens_B.int(), x.target_lens_B.int())
    return rnnt_loss(x.logits_BTUV(), x.targets_BU.int(), *lens, blank=BLANK, reduction="sum")


def k2_full(x: Inputs) -> Tensor:
    """k2's loss over the full lattice."""
    import k2

    return k2.rnnt_loss(
        x.logits_BTUV(), x.targets_BU, BLANK, boundary=x.boundary_B4, reduction="sum"
    )


def k2_pruned(x: Inputs) -> Tensor:
    """k2's simple loss, ranges and pruned loss, as its documentation puts them together."""
    import k2

    simple, edges = k2.rnnt_loss_smoothed(
        lm=x.lm_BUV,
        am=x.am_BTV,
        symbols=x.targets_BU,
        termination_symbol=BLANK,
        lm_only_scale=LM_SCALE,
        am_only_scale=0.0,
        boundary=x.boundary_B4,
        reduction="sum",
        return_grad=True,
    )
    ranges_BTS = k2.get_rnnt_prune_ranges(*edges, x.boundary_B4, x.width)
    am_BTSV, lm_BTSV = k2.do_rnnt_pruning(am=x.am_BTV, lm=x.lm_BUV, ranges=ranges_BTS)
    pruned = k2.rnnt_loss_pruned(
        am_BTSV + lm_BTSV, x.targets_BU, ranges_BTS, BLANK, x.boundary_B4, reduction="sum"
    )
    return SIMPLE_SCALE * simple + pruned


FORMS: dict[str, Callable[[Inputs], Tensor]] = {
    form.__name__: form for form in (ours_full, ours_pruned, torchaudio_full, k2_full, k2_pruned)
}


def run(form: str, x: Inputs) -> float:
    """Run forward and backward; return the loss."""
    x.am_BTV.grad = x.lm_BUV.grad = None
    loss = FORMS[form](x)
    loss.backward()
    return float(loss.detach())


def timed(job: dict[str, Any]) -> dict[str, Any]:
    """Return CPU milliseconds of forward and backward, each repeat."""
    x, times_ms, loss = Inputs(job["shape"]), [], 0.0
    for _ in range(job["repeats"]):
        begin_s = process_time()
        loss = run(job["form"], x)
        times_ms.append(1000.0 * (process_time() - begin_s))
    return {"ms": times_ms, "loss": loss}


def weighed(job: dict[str, Any]) -> dict[str, Any]:
    """Return the bytes that a run adds at its peak, libraries warm."""
    small = {"batch": 2, "frames": 8, "labels": 3, "symbols": 8}
    run(job["form"], Inputs({**job["shape"], **small}))
    x = Inputs(job["shape"])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident_bytes("VmRSS")
    run(job["form"], x)
    return {"bytes": resident_bytes("VmHWM") - before}


def resident_bytes(field: str) -> int:
    """Return a figure of Linux's account of this process."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"no {field} in /proc/self/status")


def main() -> None:
    """Serve jobs."""
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--memory"]:
        print(json.dumps(weighed(json.loads(sys.argv[2]))))
        return
    for line in sys.stdin:
        print(json.dumps(timed(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
