"""The twins' plan, their runs through kills, their scores and the table of a made-up outcome."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from todm.core.contract import contract_of
from todm.core.cost_training import TrainingShape, training_macs
from todm.core.data_config import PrepareConfig, SourceConfig
from todm.core.errors import ConfigError, GateError
from todm.core.report import Report
from todm.data.manifest import Utterance, open_corpus
from todm.decode.streaming import StreamingDecoder
from todm.decode.tokens import TokenTable
from todm.evaluate.words import timed_words
from todm.features.wav import read_audio, write_wav
from todm.models.rnnt import Transducer
from todm.prepare.run import run as prepare
from todm.runtimes.eager import EagerSteps
from todm.train.sandwich import nets_of_step

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "supernet_vs_single.py"
STUB = Path(__file__).with_name("twins_stub_job.py")


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.syspath_prepend(str(STUB.parent))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def word_corpus(tmp_path, texts):
    """A corpus object with these test texts; words end at 0.5 and 1 second."""
    words = sorted({word for text in texts for word in text.split()})
    table = TokenTable(unit="word", symbols=("<blk>", *words))
    cuts = tuple(
        Utterance(id=f"u{i}", speaker=f"s{i % 2}", text=text, tokens=(), duration_s=1.0,
                  audio_path=tmp_path / "none", word_ends_s=(0.5, 1.0))
        for i, text in enumerate(texts)
    )  # fmt: skip
    artifact = SimpleNamespace(path=tmp_path / "corpus", digest="0" * 64)
    return SimpleNamespace(table=table, artifact=artifact, cuts={"test": cuts}.get)


@pytest.fixture
def twins(tmp_path):
    """The quick plan's set with two seeds on a corpus of four strings."""
    import twins_stub_job
    from supernet_vs_single import QUICK_PLAN
    from twins_plan import TwinSet, read_plan

    corpus = word_corpus(tmp_path, twins_stub_job.REFS)
    return TwinSet("quick", read_plan(QUICK_PLAN), corpus, seeds=(1, 2))


@pytest.fixture
def shelf(tmp_path):
    from twins_runs import Shelf

    (tmp_path / "runs" / "die").mkdir(parents=True)
    return Shelf(tmp_path / "runs")


@pytest.mark.parametrize("name", ["an4", "arabic", "fsdd"])
def test_committed_plans_hold_four_sizes_down_to_a_quarter(name, tmp_path):
    from twins_plan import PLANS, TwinSet, plan_names, read_plan

    assert name in plan_names()
    twins = TwinSet(name, read_plan(PLANS / f"{name}.toml"), word_corpus(tmp_path, ["A B"]), (1,))
    macs = [twins.macs(size) for size in twins.plan.sizes]
    assert len(macs) == 4
    assert macs == sorted(macs, reverse=True)
    assert macs[-1] <= macs[0] / 4
    assert len(twins.plan.lrs) == 3
    for size, spec in twins.specs.items():
        twin = twins.config(size, 0.03, 7)
        assert spec.axes() | {"layers": None} == twin.space.largest.axes() | {"layers": None}
        shape = TrainingShape(batch=4, frames=200, target_len=5)
        assert training_macs(spec, shape) == training_macs(twin.space.largest, shape)


def test_a_twin_is_trained_as_the_supernet_but_alone(twins):
    supernet = twins.config("supernet", 0.02, 5)
    for size in twins.plan.sizes:
        twin = twins.config(size, 0.02, 5)
        for part in ("seed", "data", "loss", "optim", "schedule", "run"):
            assert getattr(twin, part) == getattr(supernet, part)
        for step in range(twin.schedule.steps):
            nets = nets_of_step(
                twin.space, twin.sandwich, seed=5, step=step, total_steps=twin.schedule.steps
            )
            assert nets == [("largest", twin.space.largest)]
        assert twin.space.count() == 1
    assert twins.config("largest", 0.02, 5).dropout.rate == supernet.dropout.rate
    assert twins.config("smallest", 0.02, 5).dropout.rate == 0.0


def test_what_the_twins_share_is_no_override_of_the_supernet(twins):
    late = ("sandwich.start_fraction=0.5", "schedule.hold_fraction=0.5")
    plan = twins.plan.model_copy(update={"supernet_overrides": late})
    with pytest.raises(ConfigError, match="supernet_overrides change schedule, which the twins"):
        dataclasses.replace(twins, plan=plan).config("supernet", 0.02, 5)


def test_a_size_with_two_dropout_rates_is_refused(twins):
    from twins_plan import twin_config

    uneven = twins.base.space.uniform(3, 32, 2, 4, 16)
    with pytest.raises(ConfigError, match=r"two rates of dropout, 0 and 0\.1"):
        twin_config(twins.base, uneven)


def test_runs_are_told_apart_by_all_that_decides_them(twins):
    from dataclasses import replace

    keys = {twins.run(net, lr, seed).key
            for net in twins.nets for lr in (0.02, 0.04) for seed in (1, 2)}  # fmt: skip
    assert len(keys) == 12
    assert twins.run("largest", 0.02, 1).key in keys
    assert replace(twins, steps=9).run("largest", 0.02, 1).key not in keys


def test_the_rate_of_lowest_dev_wer_is_chosen():
    from twins_plan import chosen_index

    inf = float("inf")
    assert chosen_index([(5.0, 0.3), (4.0, 0.9), (inf, inf)]) == 1
    assert chosen_index([(4.0, 0.3), (4.0, 0.2), (4.0, 0.2)]) == 1
    with pytest.raises(ConfigError, match="diverged"):
        chosen_index([(inf, inf), (inf, inf)])


def test_killed_runs_are_taken_up_and_finished_ones_left_alone(twins, shelf, monkeypatch):
    import twins_runs

    monkeypatch.setattr(twins_runs, "JOB", STUB)
    monkeypatch.setattr(twins_runs, "POLL_S", 0.02)
    trials = [run for net in twins.nets for run in twins.trials(net)]
    assert [run.name for run in shelf.left(twins)] == [run.name for run in trials]
    assert sum(shelf.num_left(twins).values()) == 9
    (shelf.folder / "die" / trials[2].name).touch()
    with pytest.raises(GateError, match=f"{trials[2].name} ended with status -9"):
        twins_runs.Workers(shelf, jobs=1).work([twins])
    assert len(shelf.left(twins)) == 6 - 2 + 1  # the supernet's rate is chosen, its seed 2 waits
    twins_runs.Workers(twins_runs.Shelf(shelf.folder), jobs=2).work([twins])
    assert shelf.left(twins) == []
    starts = (shelf.folder / "journal.txt").read_text("utf-8").split()
    assert len(starts) == 9 + 1
    assert starts.count(trials[2].name) == 2
    chosen = {net: shelf.chosen(twins, net).config.optim.lr for net in twins.nets}
    assert chosen == {"supernet": 0.04, "largest": 0.02, "smallest": 0.04}
    assert [run.config.seed for run in shelf.seeds(twins, "supernet")] == [1, 2]
    config = json.loads((shelf.place(trials[0]) / "config.json").read_text("utf-8"))
    assert config == trials[0].config.to_json()


def finish(shelf, run):
    from twins_job import CONFIG, SPECS
    from twins_stub_job import write

    place = shelf.place(run)
    place.mkdir(parents=True)
    (place / CONFIG).write_text(json.dumps(run.config.to_json()), "utf-8")
    specs = {size: spec.to_json() for size, spec in run.specs.items()}
    (place / SPECS).write_text(json.dumps(specs), "utf-8")
    write(place)


def finish_all(shelf, twins):
    while left := shelf.left(twins):
        finish(shelf, left[0])


def test_remaining_time_follows_what_finished_runs_took(twins, shelf):
    from twins_runs import remaining_s

    assert remaining_s(shelf, twins, {}) == 0.0
    for run in twins.trials("largest"):
        finish(shelf, run)
    share = twins.relative_cost("smallest")
    assert remaining_s(shelf, twins, {}) == pytest.approx(10 * (1 + 3 * 1.5 + 3 * share))
    assert remaining_s(shelf, twins, {"largest": 0.5}) == pytest.approx(
        10 * (0.5 + 3 * 1.5 + 3 * share)
    )
    finish_all(shelf, twins)
    assert remaining_s(shelf, twins, {}) == 0.0


def test_the_table_of_a_finished_set(twins, shelf, tmp_path):
    from supernet_vs_single import write_report

    finish_all(shelf, twins)
    report = write_report(shelf, [twins], [], tmp_path / "out")
    assert report == Report.read_json(tmp_path / "out" / "supernet_vs_single.json")
    value = report.value
    # four strings of two words, errors by seed: supernet 2, 1 and 3, 2; alone 1, 0 and 4, 3
    assert value("quick.wer.supernet.largest") == pytest.approx(100 * 1.5 / 8)
    assert value("quick.wer.single.largest") == pytest.approx(100 * 0.5 / 8)
    assert value("quick.wer.rel_diff.largest") == pytest.approx(2.0)
    assert value("quick.wer.rel_diff.smallest") == pytest.approx(2.5 / 3.5 - 1)
    assert value("all.wer.rel_diff") == pytest.approx((2.0 + 2.5 / 3.5 - 1) / 2)
    assert value("quick.wer.p_worse.smallest") > 0.5
    assert value("quick.delay_ms.supernet.largest") == pytest.approx(80.0)
    assert value("quick.delay_ms.single.largest") == pytest.approx(0.0, abs=1e-9)
    assert value("quick.cost.ratio_to_largest") == pytest.approx(1.3)
    assert value("quick.cost.ratio_to_all_singles") == pytest.approx(130 / 125)
    assert value("quick.lr.supernet") == 0.04
    verdicts = {v.name: v.status for v in report.verdicts}
    assert verdicts["quick.delay_ms.later.largest"] == "failed"
    assert verdicts["quick.delay_ms.later.smallest"] == "met"
    assert verdicts["quick.cost.ratio_to_largest"] == "met"
    assert verdicts["all.wer.rel_diff"] == "not_judged"  # fewer than eight cells
    page = (tmp_path / "out" / "supernet_vs_single.md").read_text("utf-8")
    assert "Missing" not in page
    assert "| quick, largest |" in page
    assert "| +200.0% |" in page
    configs = tmp_path / "out" / "supernet_vs_single.configs" / "quick"
    assert {path.stem for path in configs.iterdir()} == {
        "prepare", "supernet", "largest", "smallest"
    }  # fmt: skip
    svg = (tmp_path / "out" / "supernet_vs_single.quick.svg").read_text("utf-8")
    drawing = ElementTree.fromstring(svg)
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    hints = {title.text for title in drawing.iter("{http://www.w3.org/2000/svg}title")}
    assert any(hint and hint.startswith("single: 6.25 %") for hint in hints)


def test_a_half_filled_table_names_what_is_missing(twins, shelf, tmp_path):
    from supernet_vs_single import write_report
    from twins_stub_job import write

    empty = write_report(shelf, [twins], ["arabic"], tmp_path / "out")
    assert not any(".wer." in m.name for m in empty.measurements)
    for net in ("supernet", "largest"):
        for run in twins.trials(net):
            finish(shelf, run)
    last = shelf.seeds(twins, "largest")[1]
    place = shelf.place(last)
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(last.config.to_json()), "utf-8")
    (place / "specs.json").write_text("{}", "utf-8")
    write(place, diverged=True)
    report = write_report(shelf, [twins], ["arabic"], tmp_path / "out")
    assert report.value("quick.wer.supernet.largest") == 25.0  # of the seed that both have
    assert not any("smallest" in m.name and ".wer." in m.name for m in report.measurements)
    page = (tmp_path / "out" / "supernet_vs_single.md").read_text("utf-8")
    for text in (
        "arabic: everything",
        "quick: the learning rate of smallest",
        "quick: supernet with seed 2, not trained",
        "quick: largest with seed 2, diverged",
    ):
        assert text in page


SOUNDS = ("AB C", "CAB", "B ABBA", "A")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Four recordings of harmonic babble in each split, characters as tokens."""
    sys.path.insert(0, str(ROOT / "tests" / "export"))
    from tiny_bundle import babble

    folder = tmp_path_factory.mktemp("sounds")
    rows = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    for number, split in enumerate(("train", "dev", "test") * 4):
        name = f"{split}{number}"
        write_wav(folder / f"{name}.wav", babble(1.2 + 0.21 * number, number))
        rows.append(f"{name}\ts\t{SOUNDS[number // 3]}\t{name}.wav\t{split}")
    (folder / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    source = SourceConfig(corpus="transcripts", path=folder)
    made = prepare(PrepareConfig(name="sounds", source=source), folder / "corpus")
    return open_corpus(made.path)


@pytest.fixture(scope="module")
def net(sounds):
    """An untrained net that emits many tokens."""
    from tiny_bundle import unequal_spec

    spec = unequal_spec().model_copy(update={"vocab_size": sounds.table.size})
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        model = Transducer(spec).eval()
        model.encoder.front.mean.fill_(-8.0)
        model.encoder.front.istd.fill_(0.25)
        for layer in (model.joiner.from_encoder, model.joiner.to_vocab):
            layer.weight.mul_(4.0)
        model.joiner.to_vocab.bias[0] += 2.0
    config = SimpleNamespace(
        loss=SimpleNamespace(topology="regular"), space=SimpleNamespace(largest=spec)
    )
    return SimpleNamespace(model=model, config=config, table=sounds.table)


def test_what_is_heard_in_batches_is_what_a_stream_hears(net, sounds):
    from twins_score import hear

    spec = net.model.spec
    contract = contract_of(spec, net.table.unit)
    found = hear(net, {"one": spec}, sounds, "test")["one"]
    assert [row.id for row in found] == [u.id for u in sounds.cuts("test")]
    assert sum(len(row.hyp) for row in found) > 20
    for row, utterance in zip(found, sounds.cuts("test"), strict=True):
        stream = StreamingDecoder(EagerSteps(net.model, spec, contract), net.table)
        stream.accept(read_audio(utterance.audio_path))
        transcript = stream.finish()
        words = timed_words(transcript, net.table, contract)
        assert (row.ref, row.hyp) == (utterance.text, transcript.text)
        assert row.emitted_s == tuple(word.complete_s for word in words)


def test_forced_alignment_gives_every_word_an_end(net, sounds):
    from twins_score import Heard, aligned_ends_s, delays_ms

    ends_s = aligned_ends_s(net, sounds, "test")
    heard = []
    for utterance in sounds.cuts("test"):
        ends = ends_s[utterance.id]
        assert len(ends) == len(utterance.text.split())
        assert list(ends) == sorted(ends)
        assert 0.04 <= ends[0] <= ends[-1] <= utterance.duration_s + 1.0
        late = tuple(end + 0.08 for end in ends)
        heard.append(
            Heard(id=utterance.id, speaker="s", ref=utterance.text, hyp=utterance.text,
                  emitted_s=late)
        )  # fmt: skip
    assert delays_ms(heard, ends_s) == pytest.approx([80.0] * 6)


def test_the_alignment_is_the_nets_best_path(net, sounds):
    """Against the best of all paths of a short recording, scored through the joiner itself."""
    from twins_score import _best_frames

    from todm.kernels.transducer import alignments

    utterance = next(u for u in sounds.cuts("test") if u.text == "A")
    torch.manual_seed(0)
    enc_TD = torch.randn(5, net.model.spec.model_dim)
    found = _best_frames(net, enc_TD, utterance)
    pred_1UE = net.model.predictor(torch.tensor([utterance.tokens]))
    logits = net.model.joiner.lattice(enc_TD[None], pred_1UE, net.model.spec.joiner_dim)[0]
    logp = torch.log_softmax(logits, -1).detach().numpy()
    label = utterance.tokens[0]
    paths = list(alignments(5, 1, "regular"))
    scores = [sum(logp[t, u, label if is_label else 0] for t, u, is_label in p) for p in paths]
    best = paths[int(np.argmax(scores))]
    assert found == tuple(t for t, _, is_label in best if is_label)


@pytest.mark.slow
def test_quick_run_goes_on_after_a_kill_and_makes_every_figure(tmp_path):
    pytest.importorskip("espeakng_loader")
    work, out = tmp_path / "work", tmp_path / "out"
    command = [sys.executable, str(SCRIPT), "--quick", "--jobs", "2"]
    command += ["--work", str(work), "--out", str(out)]
    with (tmp_path / "first.txt").open("wb") as told:
        first = subprocess.Popen(
            command, cwd=ROOT, stdout=told, stderr=told, start_new_session=True
        )
        while not list(work.glob("runs/*/scored/manifest.json")) and first.poll() is None:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
    before = {path: path.stat().st_mtime_ns for path in work.glob("runs/*/scored/manifest.json")}
    assert before
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(work.glob("runs/*/scored/manifest.json"))) == 9
    report = Report.read_json(out / "supernet_vs_single.json")
    names = {m.name for m in report.measurements}
    for size in ("largest", "smallest"):
        kinds = {f"quick.wer.{kind}.{size}" for kind in ("supernet", "single")}
        tests = {f"quick.wer.{name}.{size}" for name in ("rel_diff", "p_worse")}
        assert kinds | tests <= names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "fsdd,nonsense"), "nonsense: there are an4, arabic, fsdd"),
        (("--seeds", "1,x"), "give numbers such as 1,2,3"),
    ],
)
def test_wrong_arguments_say_what_is_right(arguments, said, monkeypatch, capsys):
    import supernet_vs_single

    monkeypatch.setattr(sys, "argv", ["supernet_vs_single.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        supernet_vs_single.main()
    assert said in capsys.readouterr().err
