"""bf16-mixed: products of the network in bfloat16, kernels, losses and gradients in float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from test_supernet import make_batch, make_config, make_task
from torch import Tensor

import todm.kernels.ssm
import todm.losses.alpha_divergence
import todm.losses.transducer
from todm.data.loader import Batch
from todm.layers.elastic import ElasticLinear
from todm.train.loop import backward
from todm.train.supernet import SupernetTask

STEP = 7
FRAMES = {"toeplitz": 40, "fft": 4 * (todm.kernels.ssm.TOEPLITZ_MAX_FRAMES + 1)}


def batch_of(frames: int) -> Batch:
    """The batch of the supernet's tests in float32, with this many frames."""
    batch = make_batch()
    g = torch.Generator().manual_seed(2)
    features = torch.randn(3, frames, 80, generator=g)
    lens = torch.tensor([frames, frames * 3 // 4, frames // 2])
    return Batch(**{**vars(batch), "features_BTF": features, "frame_lens_B": lens})


def task_of(**parts: dict[str, Any]) -> SupernetTask:
    task = make_task(make_config(**parts))
    task.model.float()
    return task


def step(
    task: SupernetTask, batch: Batch, precision: Any
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Run the backwards of one step as the loop does; give its losses and gradients."""
    backward(Fabric(accelerator="cpu", devices=1, precision=precision), task, batch, STEP)
    grads = {name: p.grad for name, p in task.model.named_parameters()}
    return task.step_log(), {name: grad for name, grad in grads.items() if grad is not None}


@pytest.mark.parametrize("form", FRAMES)
def test_losses_and_gradients_stay_near_float32(form: str) -> None:
    batch = batch_of(FRAMES[form])
    full, full_grads = step(task_of(), batch, "32-true")
    half, half_grads = step(task_of(), batch, "bf16-mixed")
    for name, value in full.items():
        assert half[name] == pytest.approx(value, rel=0.02, abs=1e-3), name
        assert half[name] != value or value == 0.0  # something was in bfloat16
    assert half_grads.keys() == full_grads.keys()
    total = torch.stack([g.norm() for g in full_grads.values()]).norm()
    wrong = torch.stack([(half_grads[k] - g).norm() for k, g in full_grads.items()]).norm()
    assert float(wrong / total) < 0.05
    assert {g.dtype for g in half_grads.values()} == {torch.float32}


def spied(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, seen: dict[str, set[torch.dtype]]
) -> None:
    """Note the types of the tensors that go into and come out of a function."""
    function: Callable[..., Any] = getattr(module, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        result = function(*args, **named)
        outputs = result if isinstance(result, tuple) else (result,)
        tensors = [x for x in (*args, *outputs) if isinstance(x, Tensor)]
        seen.setdefault(name, set()).update(t.dtype for t in tensors if t.is_floating_point())
        return result

    monkeypatch.setattr(module, name, wrapped)


@pytest.mark.parametrize("form", FRAMES)
def test_kernels_and_losses_see_float32_only(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[torch.dtype]] = {}
    spied(monkeypatch, todm.kernels.ssm, f"ssm_{form}", seen)
    spied(monkeypatch, todm.kernels.ssm, "toeplitz", seen)
    spied(monkeypatch, todm.losses.transducer, "lattice_posteriors", seen)
    spied(monkeypatch, todm.losses.alpha_divergence, "_weigh", seen)
    products: set[torch.dtype] = set()
    forward = ElasticLinear.forward

    def linear(self: ElasticLinear, x: Tensor, out: int | None = None) -> Tensor:
        result = forward(self, x, out)
        products.add(result.dtype)
        return result

    monkeypatch.setattr(ElasticLinear, "forward", linear)
    step(task_of(), batch_of(FRAMES[form]), "bf16-mixed")
    assert {f"ssm_{form}", "lattice_posteriors", "_weigh"} <= seen.keys()
    assert all(types == {torch.float32} for types in seen.values()), seen
    assert products == {torch.bfloat16}
