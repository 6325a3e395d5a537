"""A sandwich step's gradient equals the plain sum of losses computed without any sharing."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from todm.core.config import SupernetConfig
from todm.core.rng import derive_seed
from todm.data.loader import Batch
from todm.decode.tokens import TokenTable
from todm.layers.dropout import dropout_plan
from todm.losses.transducer import TransducerLoss, transducer_loss
from todm.models.rnnt import Transducer, encoder_lens
from todm.recipes import recipe
from todm.train.sandwich import nets_of_step
from todm.train.supernet import SupernetTask

TABLE = TokenTable(unit="word", symbols=("<blk>", "▁ONE", "▁TWO", "▁SIX", "▁TEN"))
BATCH_TOKENS = 4 * 3.0  # the tiny recipe's batch size times the loader's mean length
NO_CLIP = 1e30


def make_config(**parts: dict[str, Any]) -> SupernetConfig:
    config = recipe("tiny", TABLE.size)
    updated = {
        name: getattr(config, name).model_copy(update=values) for name, values in parts.items()
    }
    return config.model_copy(update=updated)


def make_task(config: SupernetConfig) -> SupernetTask:
    """A float64 task over a loader that knows utterance lengths only."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Transducer(config.space.largest).double()
    utterances = [SimpleNamespace(tokens=(1, 2, 3)[:n]) for n in (3, 3, 3)]
    loader = SimpleNamespace(utterances=utterances, steps_per_epoch=3)
    return SupernetTask(config, model, loader, [], TABLE)  # type: ignore[arg-type]


def make_batch() -> Batch:
    g = torch.Generator().manual_seed(1)
    return Batch(
        features_BTF=torch.randn(3, 40, 80, generator=g, dtype=torch.float64),
        frame_lens_B=torch.tensor([40, 30, 21]),
        targets_BU=torch.tensor([[1, 2, 3, 4], [2, 2, 0, 0], [4, 0, 0, 0]]),
        target_lens_B=torch.tensor([4, 2, 1]),
        ids=("a", "b", "c"),
        speakers=("x", "x", "y"),
    )


def grads_of(task: SupernetTask) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in task.model.named_parameters()}
    task.model.zero_grad()
    return {name: grad.clone() for name, grad in found.items() if grad is not None}


def sandwich_grads(task: SupernetTask, batch: Batch, step: int) -> dict[str, Tensor]:
    for loss in task.losses(batch, step):  # as the loop does it
        loss.backward()
    return grads_of(task)


def divergence(teacher_XV: Tensor, student_XV: Tensor, config: SupernetConfig) -> Tensor:
    """The larger of both ends by its definition, through autograd, unclipped."""
    p, q = teacher_XV.softmax(-1), student_XV.softmax(-1)
    ends = []
    for alpha in (config.distill.alpha_min, config.distill.alpha_max):
        if alpha == 1.0:
            ends.append((p * (p / q).log()).sum(-1))
        else:
            ends.append((q * ((p / q) ** alpha - 1.0)).sum(-1) / (alpha * (alpha - 1.0)))
    return torch.maximum(*ends)


def separate_loss(task: SupernetTask, batch: Batch, step: int) -> Tensor:
    """Each net alone, from the features on; distillation utterance by utterance."""
    config, model = task.config, task.model
    nets = nets_of_step(
        config.space,
        config.sandwich,
        seed=config.seed,
        step=step,
        total_steps=config.schedule.steps,
    )
    lens_B = encoder_lens(batch.frame_lens_B)
    total = torch.zeros((), dtype=torch.float64)
    teacher: tuple[Tensor, TransducerLoss] | None = None
    for name, spec in nets:
        g = torch.Generator().manual_seed(derive_seed(config.seed, "dropout", step, name))
        plan = dropout_plan(config.dropout, config.space, g)
        enc_BTD = model.encoder(batch.features_BTF, spec, plan)
        logits = model.joiner.lattice(enc_BTD, model.predictor(batch.targets_BU), spec.joiner_dim)
        result = transducer_loss(logits, batch.targets_BU, lens_B, batch.target_lens_B)
        weight = 1.0 if name == "largest" else config.sandwich.task_weight
        total = total + weight * result.loss_B.sum() / BATCH_TOKENS
        if teacher is None:
            teacher = (logits.detach(), result)
        elif config.distill.mode != "none":
            for row in range(3):
                t, u = int(lens_B[row]), int(batch.target_lens_B[row]) + 1
                per_label = teacher[1].loss_B[row].detach() / batch.target_lens_B[row]
                gate = torch.exp(-per_label) if config.distill.gate else 1.0
                kd = divergence(teacher[0][row, :t, :u], logits[row, :t, :u], config).mean()
                total = total + config.distill.weight * gate * kd / 3
    return total


CASES: dict[str, dict[str, dict[str, Any]]] = {
    "all": {},
    "no distillation": {"distill": {"mode": "none"}},
    "gate off": {"distill": {"gate": False}},
    "other ends": {"distill": {"alpha_min": -0.5, "alpha_max": 0.5}},
    "weights": {"sandwich": {"task_weight": 2.0, "num_random": 2}, "distill": {"weight": 3.0}},
    "no task loss below": {"sandwich": {"task_weight": 0.0}},
    "largest alone": {"sandwich": {"smallest": False, "num_random": 0}},
    "no dropout": {"dropout": {"mode": "none"}},
}


@pytest.mark.parametrize("case", CASES)
def test_gradient_equals_the_sum_of_separate_losses(case: str) -> None:
    parts = CASES[case]
    config = make_config(**{**parts, "distill": {"clip": NO_CLIP, **parts.get("distill", {})}})
    task, batch = make_task(config), make_batch()
    found = sandwich_grads(task, batch, 7)
    separate_loss(task, batch, 7).backward()
    want = grads_of(task)
    assert found.keys() == want.keys() == dict(task.model.named_parameters()).keys()
    for name, grad in want.items():
        scale = max(float(grad.abs().max()), 1e-6)
        torch.testing.assert_close(found[name], grad, rtol=0.0, atol=1e-11 * scale, msg=name)
        assert float(grad.abs().sum()) > 0.0, name


def test_losses_of_every_net_are_logged_per_token() -> None:
    task, batch = make_task(make_config()), make_batch()
    sandwich_grads(task, batch, 7)
    log = task.step_log()
    losses = {"loss.largest", "loss.smallest", "loss.random0"}
    assert set(log) == losses | {"distill.smallest", "distill.random0"}
    config = make_config(distill={"mode": "none"}, dropout={"mode": "none"})
    task = make_task(config)
    sandwich_grads(task, batch, 7)
    assert set(task.step_log()) == losses
    spec = config.space.smallest
    enc = task.model.encoder(batch.features_BTF, spec)
    logits = task.model.joiner.lattice(enc, task.model.predictor(batch.targets_BU), spec.joiner_dim)
    lens_B = encoder_lens(batch.frame_lens_B)
    result = transducer_loss(logits, batch.targets_BU, lens_B, batch.target_lens_B)
    assert task.step_log()["loss.smallest"] == pytest.approx(
        float(result.loss_B.detach().sum()) / 7
    )


def test_the_gate_weakens_a_bad_teacher() -> None:
    """An untrained net's likelihood per label is small, so that little is distilled."""
    batch = make_batch()
    values = {}
    for gate in (True, False):
        task = make_task(make_config(distill={"gate": gate}))
        sandwich_grads(task, batch, 7)
        values[gate] = task.step_log()["distill.smallest"]
    assert 0.0 < values[True] < 0.1 * values[False]


def test_an_utterance_without_a_path_teaches_nothing() -> None:
    """With one symbol a frame an utterance of more labels than frames has no path."""
    config = make_config(
        loss={"topology": "one_symbol"},
        distill={"gate": False},
        sandwich={"task_weight": 0.0},
    )
    task, batch = make_task(config), make_batch()
    frames = {"frame_lens_B": torch.tensor([12, 4, 4])}  # 3, 1 and 1 encoder frames
    nothing = {**frames, "target_lens_B": torch.tensor([4, 2, 2])}
    grads = sandwich_grads(task, Batch(**{**vars(batch), **nothing}), 7)
    assert all(float(grad.abs().sum()) == 0.0 for grad in grads.values())
    grads = sandwich_grads(task, Batch(**{**vars(batch), **frames}), 7)  # the last has a path
    assert all(bool(torch.isfinite(grad).all()) for grad in grads.values())
    assert any(float(grad.abs().sum()) > 0.0 for grad in grads.values())


def test_a_step_replays_alone() -> None:
    """Nets, dropout and gradients depend on (seed, step), not on what ran before."""
    batch = make_batch()
    task = make_task(make_config())
    for step in range(3):
        sandwich_grads(task, batch, step)
    later = sandwich_grads(task, batch, 3)
    alone = sandwich_grads(make_task(make_config()), batch, 3)
    assert all(torch.equal(later[name], grad) for name, grad in alone.items())
