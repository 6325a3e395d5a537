"""A step over kept nodes equals its losses written out, and the full form with all kept."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from todm.core.artifact import Artifact
from todm.core.config import PrunedConfig, SupernetConfig
from todm.core.cost import num_parameters as counted
from todm.core.errors import ConfigError
from todm.core.overrides import apply_overrides
from todm.data.loader import Batch
from todm.decode.tokens import TokenTable
from todm.kernels.pruning import prune_starts
from todm.losses.pruned import pruned_transducer_loss
from todm.losses.simple_transducer import simple_transducer_loss
from todm.models.rnnt import Transducer, encoder_lens
from todm.models.slicing import num_parameters, slice_weights
from todm.models.store import load_supernet
from todm.models.weights import WEIGHTS
from todm.recipes import recipe
from todm.train.lattice import warmup_scales
from todm.train.run import run
from todm.train.sandwich import nets_of_step
from todm.train.supernet import SupernetTask

TABLE = TokenTable(unit="word", symbols=("<blk>", "▁ONE", "▁TWO", "▁SIX", "▁TEN"))
NO_DROPOUT = {"dropout.mode": "none"}
PRUNED = {"loss.form": "pruned", "loss.pruned.warmup_steps": 10, **NO_DROPOUT}


def make_config(**changes: object) -> SupernetConfig:
    return apply_overrides(recipe("tiny", TABLE.size), [f"{k}={v}" for k, v in changes.items()])


def make_task(config: SupernetConfig) -> SupernetTask:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pruned = config.loss.form == "pruned"
        model = Transducer(config.space.largest, simple=pruned).double()
    loader = SimpleNamespace(utterances=[SimpleNamespace(tokens=(1, 2, 3))] * 3, steps_per_epoch=3)
    return SupernetTask(config, model, loader, [], TABLE)  # type: ignore[arg-type]


def make_batch() -> Batch:
    g = torch.Generator().manual_seed(1)
    return Batch(
        features_BTF=torch.randn(3, 40, 80, generator=g, dtype=torch.float64),
        frame_lens_B=torch.tensor([40, 30, 21]),
        targets_BU=torch.tensor([[1, 2, 3, 4, 1, 1], [2, 2, 0, 0, 0, 0], [4, 3, 1, 0, 0, 0]]),
        target_lens_B=torch.tensor([6, 2, 3]),
        ids=("a", "b", "c"),
        speakers=("x", "x", "y"),
    )


def grads_of(task: SupernetTask) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in task.model.named_parameters() if p.grad is not None}
    task.model.zero_grad()
    return found


def step_grads(task: SupernetTask, step: int = 5) -> dict[str, Tensor]:
    for loss in task.losses(make_batch(), step):  # as the loop does it
        loss.backward()
    return grads_of(task)


def assert_same(found: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert found.keys() == want.keys()
    for name, grad in want.items():
        scale = max(float(grad.abs().max()), 1e-6)
        torch.testing.assert_close(found[name], grad, rtol=0.0, atol=1e-9 * scale, msg=name)


@pytest.mark.parametrize("topology", ["regular", "one_symbol"])
def test_all_positions_kept_is_the_full_form(topology: str) -> None:
    options = {**NO_DROPOUT, "loss.topology": topology, "loss.fastemit": 0.1}
    want = step_grads(make_task(make_config(**options)))
    every = {"s_range": 99, "simple_scale": 0.0, "warmup_steps": 0}
    pruned = {"loss.form": "pruned", **{f"loss.pruned.{k}": v for k, v in every.items()}}
    found = step_grads(make_task(make_config(**options, **pruned)))
    simple = {name: found.pop(name) for name in list(found) if name.startswith("simple.")}
    assert len(simple) == 4
    assert all(float(grad.abs().sum()) == 0.0 for grad in simple.values())
    assert_same(found, want)


def divergence(teacher_XV: Tensor, student_XV: Tensor) -> Tensor:
    """The recipe's two ends by their definition, unclipped."""
    p, q = teacher_XV.softmax(-1), student_XV.softmax(-1)
    return torch.maximum((q * (q / p - 1.0)).sum(-1) / 2.0, (p * (p / q).log()).sum(-1))


def written_out(task: SupernetTask, step: int) -> Tensor:
    """Every net from the features on; kept nodes taken out of the full lattice's logits."""
    config, model, batch = task.config, task.model, make_batch()
    pruned = config.loss.pruned
    lens = encoder_lens(batch.frame_lens_B), batch.target_lens_B
    nets = nets_of_step(
        config.space, config.sandwich, seed=0, step=step, total_steps=config.schedule.steps
    )
    assert model.simple is not None
    pred = model.predictor(batch.targets_BU)
    start: Tensor | None = None
    teacher: tuple[Tensor, Tensor] | None = None
    total = torch.zeros((), dtype=torch.float64)
    done = step / pruned.warmup_steps
    for name, spec in nets:
        enc = model.encoder(batch.features_BTF, spec)
        objective_B = torch.zeros(3, dtype=torch.float64)
        if start is None or not pruned.share_ranges:
            am_lm = model.simple.from_encoder(enc), model.simple.from_predictor(pred)
            simple = simple_transducer_loss(*am_lm, batch.targets_BU, *lens)
            edges = simple.blank_BTU, simple.label_BTU
            start = prune_starts(*edges, *lens, width=pruned.s_range, topology="regular")
            objective_B = (1.0 - 0.5 * done) * simple.loss_B
        place = start[:, :, None] + torch.arange(pruned.s_range)
        full = model.joiner.lattice(enc, pred, spec.joiner_dim)
        index = place[..., None].expand(-1, -1, -1, TABLE.size)
        logits = full.gather(2, index)
        loss = pruned_transducer_loss(logits, batch.targets_BU, start, *lens)
        assert bool(loss.valid_B.all())
        objective_B = objective_B + (0.1 + 0.9 * done) * loss.loss_B
        weight = 1.0 if name == "largest" else config.sandwich.task_weight
        total = total + weight * objective_B.sum() / task.batch_tokens
        if config.distill.mode == "none":
            continue
        if teacher is None:
            teacher = logits.detach(), loss.loss_B.detach()
            continue
        for row in range(3):
            real = place[row, : int(lens[0][row])] <= int(lens[1][row])
            kept = [x[row, : int(lens[0][row])][real] for x in (teacher[0], logits)]
            gate = torch.exp(-teacher[1][row] / batch.target_lens_B[row])
            total = total + config.distill.weight * gate * divergence(*kept).mean() / 3
    return total


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sandwich.task_weight": 2.0},
        {"loss.pruned.share_ranges": "false", "distill.mode": "none"},
    ],
    ids=["shared ranges", "weights", "own ranges"],
)
def test_gradient_equals_the_losses_written_out(options: dict[str, object]) -> None:
    clip = {"distill.clip": 1e30}
    config = make_config(**PRUNED, **options, **clip, **{"loss.pruned.s_range": 3})
    task = make_task(config)
    found = step_grads(task)
    written_out(task, 5).backward()
    assert_same(found, grads_of(task))


def test_warmup_scales() -> None:
    config = PrunedConfig(warmup_steps=100)
    assert warmup_scales(config, 0) == (0.1, 1.0)
    assert warmup_scales(config, 50) == pytest.approx((0.55, 0.75))
    assert warmup_scales(config, 100) == warmup_scales(config, 9999) == (1.0, 0.5)
    assert warmup_scales(PrunedConfig(warmup_steps=0), 0) == (1.0, 0.5)


def test_utterances_without_a_path_are_counted_and_teach_nothing() -> None:
    config = make_config(**PRUNED, **{"loss.pruned.s_range": 2})
    task, batch = make_task(config), vars(make_batch())
    short = Batch(**{**batch, "frame_lens_B": torch.tensor([12, 4, 8])})  # 3, 1 and 2 frames
    for loss in task.losses(short, 5):
        loss.backward()
    log = task.step_log()
    assert {name: log[name] for name in log if name.startswith("no_path")} == {
        "no_path.largest": 3,
        "no_path.smallest": 3,
        "no_path.random0": 3,
    }
    assert {name: net.no_path for name, net in task.ledger.nets.items()} == {
        "largest": 3,
        "smallest": 3,
        "random0": 3,
    }
    assert all(float(grad.abs().sum()) == 0.0 for grad in grads_of(task).values())


def test_what_distillation_cannot_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="share_ranges"):
        make_config(**PRUNED, **{"loss.pruned.share_ranges": "false"})
    with pytest.raises(ConfigError, match="one_best"):
        make_config(**PRUNED, **{"distill.mode": "one_best"})


@pytest.mark.parametrize("mode", ["none", "alpha_divergence", "encoder", "full_sum"])
@pytest.mark.parametrize("s_range", [3, 99])
def test_parts_of_the_batch_keep_their_own_positions(mode: str, s_range: int) -> None:
    """A smaller net on some utterances: as the full form where all positions are kept."""
    options = {**NO_DROPOUT, "distill.mode": mode, "sandwich.batch_fraction": 0.6}
    kept = {"s_range": s_range, "simple_scale": 0.0, "warmup_steps": 0}
    pruned = {"loss.form": "pruned", **{f"loss.pruned.{k}": v for k, v in kept.items()}}
    task = make_task(make_config(**options, **pruned))
    found = step_grads(task)
    assert all(bool(torch.isfinite(grad).all()) for grad in found.values())
    assert {"loss.smallest", "loss.random0"} <= task.step_log().keys()
    assert task.ledger.nets["smallest"].macs.forward.simple == 0
    assert task.ledger.nets["largest"].macs.forward.simple > 0
    if s_range == 99:
        want = step_grads(make_task(make_config(**options)))
        assert_same({n: g for n, g in found.items() if not n.startswith("simple.")}, want)


def trained(corpus: Artifact, out: Path) -> SupernetConfig:
    changes = {"loss.form": "pruned", "loss.pruned.s_range": 3, "loss.pruned.warmup_steps": 5}
    changes |= {"schedule.steps": 9, "run.checkpoint_every_steps": 4, "run.eval_every_steps": 9}
    vocab = int(str(corpus.body["vocab_size"]))
    texts = [f"{k}={v}" for k, v in {**changes, "run.accelerator": "cpu"}.items()]
    config = apply_overrides(recipe("tiny", vocab), texts)
    run(config, corpus.path, out)
    return config


def test_training_resumes_exactly_and_ships_no_simple_joiner(
    corpus: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, losses = torch.get_num_threads(), SupernetTask.losses
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def stopped(self: SupernetTask, batch: Any, step: int) -> Iterator[Tensor]:
        if step == 6:
            raise KeyboardInterrupt
        return losses(self, batch, step)

    config = trained(corpus, whole)
    with monkeypatch.context() as patch:
        patch.setattr(SupernetTask, "losses", stopped)
        with pytest.raises(KeyboardInterrupt):
            trained(corpus, parts)
    trained(corpus, parts)
    torch.set_num_threads(threads)
    want, found = load_file(whole / WEIGHTS), load_file(parts / WEIGHTS)
    assert not any(name.startswith("simple") for name in want)
    assert want.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in want.items())
    supernet = load_supernet(parts)
    assert supernet.config == config
    assert num_parameters(supernet.model) == counted(config.space.largest)
    smallest = slice_weights(supernet.model, config.space.smallest)
    assert num_parameters(smallest) == counted(config.space.smallest)


def test_slicing_a_net_in_training_leaves_the_simple_joiner_behind() -> None:
    config = make_config(**PRUNED)
    model = make_task(config).model
    twin = slice_weights(model, config.space.smallest)
    assert twin.simple is None
    assert num_parameters(twin) == counted(config.space.smallest)
