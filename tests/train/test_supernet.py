"""A sandwich step's gradient equals the plain sum of losses computed without any sharing."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from todm.core.config import SupernetConfig
from todm.core.rng import derive_seed
from todm.data.loader import Batch
from todm.decode.tokens import TokenTable
from todm.kernels.transducer import alignments
from todm.layers.dropout import dropout_plan
from todm.losses.transducer import transducer_loss
from todm.models.rnnt import Transducer, encoder_lens
from todm.recipes import recipe
from todm.train.distil import Outputs
from todm.train.sandwich import nets_of_step, rows_of_net
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


def slow_distillation(
    teacher: Outputs, student: Outputs, batch: Batch, row: int, config: SupernetConfig
) -> Tensor:
    """One utterance, each mode by its definition."""
    t, labels = int(encoder_lens(batch.frame_lens_B)[row]), int(batch.target_lens_B[row])
    p, q = (o.logits_BTUV[row, :t, : labels + 1] for o in (teacher, student))
    match config.distill.mode:
        case "alpha_divergence":
            return divergence(p.detach(), q, config).mean()
        case "one_best":
            targets = batch.targets_BU[row, :labels].tolist()
            logp = p.detach().log_softmax(-1)
            paths = alignments(t, labels, "regular")
            best = max(
                paths,
                key=lambda path: sum(
                    float(logp[i, u, targets[u] if is_label else 0]) for i, u, is_label in path
                ),
            )
            return torch.stack(
                [divergence(p[i, u].detach(), q[i, u], config) for i, u, _ in best]
            ).mean()
        case "encoder":
            far = student.enc_BTD[row, :t] - teacher.enc_BTD[row, :t].detach()
            return far.square().mean()
        case _:
            d = (student.loss.loss_B[row] - teacher.loss.loss_B[row].detach()) / labels
            return d**2 / 2 if abs(float(d.detach())) < 1 else d.abs() - 0.5


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
    teacher: Outputs | None = None
    for name, spec in nets:
        g = torch.Generator().manual_seed(derive_seed(config.seed, "dropout", step, name))
        plan = dropout_plan(config.dropout, config.space, spec, g)
        enc_BTD = model.encoder(batch.features_BTF, spec, plan)
        logits = model.joiner.lattice(enc_BTD, model.predictor(batch.targets_BU), spec.joiner_dim)
        result = transducer_loss(logits, batch.targets_BU, lens_B, batch.target_lens_B)
        weight = 1.0 if name == "largest" else config.sandwich.task_weight
        total = total + weight * result.loss_B.sum() / BATCH_TOKENS
        outputs = Outputs(enc_BTD, logits, result)
        if teacher is None:
            teacher = outputs
        elif config.distill.mode != "none":
            for row in range(3):
                per_label = teacher.loss.loss_B[row].detach() / batch.target_lens_B[row]
                gate = torch.exp(-per_label) if config.distill.gate else 1.0
                kd = slow_distillation(teacher, outputs, batch, row, config)
                total = total + config.distill.weight * gate * kd / 3
    return total


CASES: dict[str, dict[str, dict[str, Any]]] = {
    "all": {},
    "no distillation": {"distill": {"mode": "none"}},
    "gate off": {"distill": {"gate": False}},
    "encoder outputs": {"distill": {"mode": "encoder", "gate": False}},
    "full sum": {"distill": {"mode": "full_sum", "gate": False}},
    "one best": {"distill": {"mode": "one_best", "gate": False}},
    "one best, gated": {"distill": {"mode": "one_best"}},
    "other ends": {"distill": {"alpha_min": -0.5, "alpha_max": 0.5}},
    "weights": {"sandwich": {"task_weight": 2.0, "num_random": 2}, "distill": {"weight": 3.0}},
    "no task loss below": {"sandwich": {"task_weight": 0.0}},
    "largest alone": {"sandwich": {"smallest": False, "num_random": 0}},
    "dropout by MACs": {"dropout": {"adaptive_by": "macs"}},
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


@pytest.mark.parametrize(
    ("size", "mode"),
    [(1, "alpha_divergence"), (2, "alpha_divergence"), (2, "encoder"), (2, "one_best")],
)
def test_the_mean_gradient_over_all_parts_is_that_of_the_whole_batch(
    size: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Utterances of 40, 30 and 21 frames, each part cut to its longest: what a draw expects."""
    config = make_config(
        dropout={"mode": "none"}, sandwich={"task_weight": 0.7}, distill={"mode": mode}
    )
    batch = make_batch()
    want = sandwich_grads(make_task(config), batch, 7)
    parts = list(itertools.combinations(range(3), size))
    mean = {name: torch.zeros_like(grad) for name, grad in want.items()}
    for rows in parts:
        monkeypatch.setattr(
            "todm.train.supernet.rows_of_net",
            lambda *_, name, rows=rows, **__: None if name == "largest" else list(rows),
        )
        for name, grad in sandwich_grads(make_task(config), batch, 7).items():
            mean[name] += grad / len(parts)
    for name, grad in want.items():
        scale = max(float(grad.abs().max()), 1e-6)
        torch.testing.assert_close(mean[name], grad, rtol=0.0, atol=1e-11 * scale, msg=name)


def test_the_ledger_counts_what_each_net_saw() -> None:
    config = make_config(sandwich={"batch_fraction": 0.34, "every": 2})
    task, batch = make_task(config), make_batch()
    for step in range(3):
        sandwich_grads(task, batch, step)
    ledger, lens = task.ledger, batch.frame_lens_B.tolist()
    assert ledger.steps == 3
    assert {name: net.steps for name, net in ledger.nets.items()} == {
        "largest": 3,
        "smallest": 2,
        "random0": 2,
    }
    largest, smallest = ledger.nets["largest"], ledger.nets["smallest"]
    assert (largest.utterances, largest.frames, largest.padded_frames) == (9, 273, 360)
    rows = [
        rows_of_net(config.sandwich, 3, seed=config.seed, step=step, name="smallest")
        for step in (0, 2)
    ]
    heard = [lens[row[0]] for row in rows if row is not None]
    assert (smallest.utterances, smallest.frames, smallest.padded_frames) == (
        2,
        sum(heard),
        sum(heard),
    )
    again = make_task(config)
    again.load_state_dict(task.state_dict())
    assert again.ledger == ledger


def test_a_late_sandwich_trains_the_largest_net_alone_before() -> None:
    config = make_config(sandwich={"start_fraction": 0.5})
    batch = make_batch()
    early = sandwich_grads(make_task(config), batch, 14)
    alone = make_config(sandwich={"smallest": 0.0, "num_random": 0})
    want = sandwich_grads(make_task(alone), batch, 14)
    assert all(torch.equal(early[name], grad) for name, grad in want.items())
    late = sandwich_grads(make_task(config), batch, 15)
    full = sandwich_grads(make_task(make_config()), batch, 15)
    assert all(torch.equal(late[name], grad) for name, grad in full.items())
