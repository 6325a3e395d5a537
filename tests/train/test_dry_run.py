"""The plan of a training agrees with what its steps really take."""

import itertools
import json
import sys

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from todm.cli import main
from todm.core.artifact import Artifact
from todm.core.config import SupernetConfig
from todm.core.cost import num_parameters
from todm.core.cost_training import TrainingShape
from todm.data.librispeech import PARTS, durations_s
from todm.data.manifest import Corpus, open_corpus
from todm.models.rnnt import Transducer
from todm.recipes import recipe
from todm.train import dry_run as dry
from todm.train.peak import PeakBytes
from todm.train.plan import ACHIEVED_SHARE, make_plan, planning_loader
from todm.train.sandwich import planned_ledger


@pytest.fixture(scope="module")
def opened(corpus: Artifact) -> Corpus:
    return open_corpus(corpus.path)


def make_config(opened: Corpus, **data: object) -> SupernetConfig:
    config = recipe("tiny", opened.table.size)
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def trier_of(opened: Corpus, config: SupernetConfig) -> dry._Trier:
    return dry._Trier(config, opened, planning_loader(config, opened))


def test_peak_counts_what_is_held() -> None:
    with PeakBytes() as counted:
        a = torch.zeros(1000)
        b = a + 1.0
        c = b.view(10, 100).mul_(2.0)
        del a, b
        d = c.sum()
    assert counted.peak == 2 * 4000
    assert float(d) == 2000.0


def test_memory_of_a_batch_follows_from_few_utterances(opened: Corpus) -> None:
    config = make_config(opened, batch_size=12)
    trier = trier_of(opened, config)
    shape = TrainingShape(batch=12, frames=240, target_len=9)
    found = trier.run("a batch", shape)
    assert found.tried_utterances == dry.TRIED_UTTERANCES
    assert found.step_bytes == pytest.approx(trier._peak(shape), rel=0.02)


def test_peak_is_that_of_torchs_own_record() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(300, 700), torch.nn.SiLU(), torch.nn.Linear(700, 50))
    x = torch.randn(64, 300)
    net(x).square().mean().backward()
    net.zero_grad()
    with PeakBytes() as counted:
        net(x).square().mean().backward()
    net.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        net(x).square().mean().backward()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    peak = max(itertools.accumulate(event.nbytes() for event in events))
    assert counted.peak == pytest.approx(peak, rel=0.01)


@pytest.mark.parametrize("form", ["full", "pruned"])
def test_macs_of_a_step_are_those_that_run(form: str, opened: Corpus) -> None:
    config = make_config(opened)
    config = config.model_copy(
        update={
            "schedule": config.schedule.model_copy(update={"steps": 1}),
            "loss": config.loss.model_copy(update={"form": form}),
        }
    )
    trier, shape = trier_of(opened, config), TrainingShape(batch=4, frames=160, target_len=6)
    trier._step(shape)
    with FlopCounterMode(display=False) as counter:
        trier._step(shape)
    ledger = planned_ledger(config, iter([shape]))
    assert len(ledger.nets) == 3
    ways = [way for net in ledger.nets.values() for way in (net.macs.forward, net.macs.backward)]
    # The counter sees matrix products only, and takes a complex one for one MAC, not four.
    seen = sum(w.total - w.predictor - w.loss - w.distill - 0.75 * w.kernels for w in ways)
    assert counter.get_total_flops() / 2 == pytest.approx(seen, rel=0.03)


def test_plan_of_a_prepared_corpus(opened: Corpus) -> None:
    config = make_config(opened, max_duration_s=6.0, batch_size=8)
    loader = planning_loader(config, opened)
    plan = make_plan(config, opened, loader)
    assert plan.batches.utterances == len(opened.cuts("train")) == 26
    assert plan.batches.steps_per_epoch == loader.steps_per_epoch
    assert plan.batches.epochs == pytest.approx(30 / loader.steps_per_epoch)
    padded = sum(
        len(batch) * max(loader.utterances[i].duration_s for i in batch)
        for batch in loader.epoch_batches(0)
    )
    assert plan.batches.audio_h * 3600 == pytest.approx(padded * (1 - plan.batches.padding_share))
    assert plan.parameters_largest == sum(
        p.numel() for p in Transducer(config.space.largest).parameters()
    )
    assert plan.macs == pytest.approx(plan.macs_per_step * 30)
    assert 1.0 < plan.ratio_to_largest < 3.0
    assert plan.gpu_hours["H100"] * 3600 * 989e12 * ACHIEVED_SHARE == pytest.approx(2 * plan.macs)
    assert 0.03 < ACHIEVED_SHARE < 0.035


def test_gpus_share_a_batch(opened: Corpus) -> None:
    config = make_config(opened, batch_size=8)
    one, four = (dry.dry_run(config, opened, gpus=gpus) for gpus in (1, 4))
    assert [t.shape.batch for t in one.trials] == [8, 8]
    assert [t.shape.batch for t in four.trials] == [2, 2]
    assert four.bytes_per_gpu < one.bytes_per_gpu
    assert four.plan == one.plan
    assert one.weights_bytes == 4 * one.plan.parameters_largest


def test_librispeech_is_as_long_as_published() -> None:
    hours = {name: sum(durations_s(name)) / 3600 for name in PARTS}
    # openslr.org/12: 100.6, 363.6 and 496.7 hours
    assert hours["train-clean-100"] == pytest.approx(100.6, rel=0.003)
    assert hours["train-clean-360"] == pytest.approx(363.6, rel=0.003)
    assert hours["train-other-500"] == pytest.approx(496.7, rel=0.003)


@pytest.mark.parametrize("name", ["librispeech_100", "librispeech_960"])
def test_recipes_span_6_to_66_million(name: str) -> None:
    config = recipe(name, 500)
    assert 5.9e6 < num_parameters(config.space.smallest) < 6.1e6
    assert 66e6 < num_parameters(config.space.largest) < 67e6
    assert config == SupernetConfig.parse(config.to_json(), where="test")


def test_command(
    corpus: Artifact, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["todm", "train-supernet", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    place = str(corpus.path)
    code, out, _ = run("--recipe", "tiny", "--corpus", place, "--dry-run", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["bytes_per_gpu"] > found["weights_bytes"] > 0
    code, out, _ = run("--recipe", "tiny", "--corpus", place, "--dry-run", "--gpus", "2")
    assert code == 0
    assert "memory of each of 2 GPUs" in out
    assert "an assumed share" in out
    code, _, err = run("--recipe", "tiny", "--dry-run", "--out", "x")
    assert (code, err.count("\n")) == (2, 1)
    assert "leave out --lr-range, --init and --out" in err
    code, _, err = run("--recipe", "tiny", "--corpus", place)
    assert (code, err.count("\n")) == (2, 1)
    assert "--out" in err
    code, _, err = run("--recipe", "tiny", "--corpus", place, "--out", "x", "--gpus", "2")
    assert code == 2
    assert "torchrun" in err
