"""Values and gradients equal k2's (at k2's own positions) and torchaudio's, to 1e-4.

k2's last wheel on PyPI (1.23.4) wants Python 3.9, torch 1.13.1, torchaudio 0.13.1 and numpy below
2: an environment of its own, whose interpreter TODM_K2_PYTHON names.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import todm.losses
from todm.kernels.pruning import prune_starts
from todm.losses.pruned import pruned_transducer_loss
from todm.losses.simple_transducer import simple_transducer_loss
from todm.losses.transducer import transducer_loss
from todm.models.joiner import take_kept

K2_PYTHON = os.environ.get("TODM_K2_PYTHON")
ADAPTERS = Path(str(todm.losses.__file__)).parent
DRIVER = Path(__file__).with_name("peer_driver.py")
CLOSE: dict[str, float] = {"rtol": 1e-4, "atol": 1e-4}

pytestmark = pytest.mark.skipif(
    not K2_PYTHON,
    reason="TODM_K2_PYTHON names no Python 3.9 with k2 1.23.4 and torchaudio 0.13.1",
)

CASES: dict[str, dict[str, Any]] = {
    "padded": {"lens": [(50, 20), (40, 9), (31, 20), (12, 3)]},
    "smoothed both ways": {
        "lens": [(30, 8), (24, 8)],
        "smooth": {"lm_scale": 0.2, "am_scale": 0.1},
    },
    "one symbol a frame": {"lens": [(40, 12), (33, 15), (12, 12)], "topology": "one_symbol"},
    "delay penalty": {"lens": [(30, 10), (22, 4)], "delay_penalty": 0.1},
    "all positions kept": {"lens": [(20, 4), (15, 3)], "width": 5},
    "no labels beside some": {"lens": [(20, 7), (15, 0)]},
    "fewer frames than labels": {"lens": [(5, 9), (4, 3)], "width": 6},
    "no path": {"lens": [(9, 6), (4, 6)], "topology": "one_symbol"},
}


def options_of(case: dict[str, Any]) -> dict[str, Any]:
    names = {"topology": "regular", "delay_penalty": 0.0}
    return {name: case.get(name, default) for name, default in names.items()}


def tensors(case: dict[str, Any]) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    frames, labels = (torch.tensor(column) for column in zip(*case["lens"], strict=True))
    num_frames, num_labels, num_symbols = int(frames.max()), int(labels.max()), 30
    am = torch.randn(len(frames), num_frames, num_symbols, generator=g)
    lm = torch.randn(len(frames), num_labels + 1, num_symbols, generator=g)
    targets = torch.randint(1, num_symbols, (len(frames), num_labels), generator=g)
    return [am.requires_grad_(), lm.requires_grad_(), targets, frames, labels]


def peers(case: dict[str, Any], inputs: list[Tensor], folder: Path) -> dict[str, Tensor]:
    """What k2 and torchaudio give for a case."""
    smooth = case.get("smooth", {"lm_scale": 0.25, "am_scale": 0.0})
    options = {**options_of(case), "width": case.get("width", 5), "smooth": smooth}
    names = ("am", "lm", "targets", "frame_lens", "target_lens")
    arrays = {n: x.detach().numpy() for n, x in zip(names, inputs, strict=True)}
    np.savez(folder / "case.npz", options=json.dumps(options), **arrays)
    assert K2_PYTHON is not None
    command = [K2_PYTHON, str(DRIVER), str(ADAPTERS), folder / "case.npz", folder / "out.npz"]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(command, check=True, env=env, timeout=300)
    with np.load(folder / "out.npz") as found:
        return {name: torch.from_numpy(found[name]) for name in found.files}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_equal_the_peers(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    am, lm, targets, *lens = inputs = tensors(case)
    want = peers(case, inputs, tmp_path)
    options, smooth = options_of(case), case.get("smooth", {"lm_scale": 0.25})
    start = want["start"]
    logits = am[:, :, None] + take_kept(lm, start, case.get("width", 5))
    simple = simple_transducer_loss(*inputs, **smooth, **options)
    pruned = pruned_transducer_loss(logits, targets, start, *lens, **options)
    full = transducer_loss(am[:, :, None] + lm[:, None], targets, *lens, **options)
    found = {"k2_simple": simple, "k2_pruned": pruned, "k2_full": full, "torchaudio_full": full}
    for form, got in found.items():
        if f"{form}.loss" in want:
            torch.testing.assert_close(got.loss_B.detach(), want[f"{form}.loss"], **CLOSE)
            grads = torch.autograd.grad(got.loss_B.sum(), (am, lm), retain_graph=True)
            torch.testing.assert_close(grads[0], want[f"{form}.am"], **CLOSE)
            torch.testing.assert_close(grads[1], want[f"{form}.lm"], **CLOSE)
        if f"{form}.valid" in want:
            assert got.valid_B.tolist() == want[f"{form}.valid"].tolist()
    assert ("torchaudio_full.loss" in want) == (
        options == {"topology": "regular", "delay_penalty": 0.0}
    )
    if bool(simple.valid_B.all()):
        edges, width = (simple.blank_BTU, simple.label_BTU), case.get("width", 5)
        ours = prune_starts(*edges, *lens, width=width, topology=options["topology"])
        # Blocks that hold as much probability up to float32's rounding are a matter of luck.
        kept = [kept_probability(simple.blank_BTU, x, width) for x in (ours, start)]
        torch.testing.assert_close(kept[0], kept[1], **CLOSE)
        inside_BT = torch.arange(ours.shape[1]) < lens[0][:, None]
        assert float((ours == start)[inside_BT].float().mean()) > 0.9


def kept_probability(blank_BTU: Tensor, start_BT: Tensor, width: int) -> Tensor:
    place_BTS = start_BT[:, :, None] + torch.arange(width)
    return blank_BTU.gather(2, place_BTS.clamp(max=blank_BTU.shape[2] - 1)).sum((1, 2))
