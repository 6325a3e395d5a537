"""Run k2's and torchaudio's losses through todm's adapters, in a Python that todm does not support.

    python3.9 peer_driver.py ADAPTERS CASE.npz OUT.npz

ADAPTERS is the folder of peer_k2.py and peer_torchaudio.py. A case holds am (B, T, V), lm
(B, U1, V), targets, frame_lens, target_lens and options as JSON. The additive joiner's logits are
priced in full, and pruned to the positions that k2 finds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch


def main(adapters: str, source: str, out: str) -> None:
    sys.path.insert(0, adapters)
    import k2
    import peer_k2
    import peer_torchaudio

    case = np.load(source)
    options = json.loads(str(case["options"]))
    width, smooth = options.pop("width"), options.pop("smooth")
    am, lm = (torch.from_numpy(case[name]).requires_grad_() for name in ("am", "lm"))
    rest = [torch.from_numpy(case[name]) for name in ("targets", "frame_lens", "target_lens")]
    found = {}

    def keep(name: str, loss: torch.Tensor, valid: torch.Tensor | None = None) -> None:
        grads = torch.autograd.grad(loss.sum(), (am, lm))
        found[f"{name}.loss"] = loss.detach().numpy()
        found[f"{name}.am"], found[f"{name}.lm"] = (grad.numpy() for grad in grads)
        if valid is not None:
            found[f"{name}.valid"] = valid.numpy()

    simple, start = peer_k2.simple_loss(am, lm, *rest, width=width, **smooth, **options)
    keep("k2_simple", simple)
    found["start"] = start.numpy()
    ranges = start[:, :, None] + torch.arange(width)
    kept_am, kept_lm = k2.do_rnnt_pruning(am=am, lm=lm, ranges=ranges)
    logits = kept_am + kept_lm
    keep("k2_pruned", *peer_k2.pruned_loss(logits, rest[0], start, *rest[1:], **options))
    full = am[:, :, None] + lm[:, None]
    keep("k2_full", *peer_k2.full_loss(full, *rest, **options))
    if options["topology"] == "regular" and not options["delay_penalty"]:
        keep("torchaudio_full", *peer_torchaudio.full_loss(full, *rest))
    np.savez(out, **found)


if __name__ == "__main__":
    assert Path(sys.argv[1]).is_dir()
    main(*sys.argv[1:])
