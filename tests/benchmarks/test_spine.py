"""The spine's script stays alive, and its figures are what their names say."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from todm.core.artifact import load_artifact, write_artifact
from todm.core.config import SandwichConfig
from todm.core.cost_training import TrainingShape
from todm.core.data_config import PrepareConfig, SourceConfig, StringConfig, TokenConfig
from todm.core.errors import ArtifactError
from todm.core.report import Environment, Measurement, Report, environment
from todm.data.manifest import open_corpus
from todm.features.wav import read_audio, write_wav
from todm.prepare.run import run as prepare
from todm.recipes import recipe
from todm.train.sandwich import planned_ledger

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "spine.py"
PREFIXES = ("sherpa.", "parity.", "emission_delay_ms.")
"""Figures that a tiny trial may have more or fewer of."""


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def run_script(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def write_words(folder, write_recording):
    """Write isolated words: two speakers, three words, four recordings of each in every split."""
    rows = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    for split in ("train", "dev", "test"):
        for speaker in ("anna", "ben"):
            for word in ("ONE", "TWO", "SIX"):
                for take in range(4):
                    name = f"{split}_{speaker}_{word}_{take}"
                    write_recording(folder / f"{name}.wav", len(rows))
                    rows.append(f"{name}\t{speaker}\t{word}\t{name}.wav\t{split}")
    (folder / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")


def write_tone(path, number):
    times_S = np.arange(3200 + 16 * number) / 16000
    write_wav(path, (0.2 * np.sin(2 * np.pi * (150 + 5 * number) * times_S)).astype(np.float32))


@pytest.fixture(scope="module")
def strings(tmp_path_factory):
    """A corpus of strings, and the folder of corpora that it was made from."""
    root = tmp_path_factory.mktemp("strings")
    (root / "corpora" / "fsdd").mkdir(parents=True)
    write_words(root / "corpora" / "fsdd", write_tone)
    config = PrepareConfig(
        name="strings",
        source=SourceConfig(corpus="fsdd"),
        tokens=TokenConfig(unit="word"),
        strings=StringConfig(num_train=12, num_dev=4, num_test=9),
        seed=3,
    )
    prepare(config, root / "corpus", corpora_dir=root / "corpora")
    return SimpleNamespace(corpus=root / "corpus", corpora=root / "corpora")


def test_recordings_of_a_string_are_those_that_it_was_joined_from(strings):
    from spine_score import string_recordings

    found = string_recordings(strings.corpus, strings.corpora, "test")
    utterances = open_corpus(strings.corpus).cuts("test")
    assert len(utterances) == 9
    for utterance in utterances:
        names = found[utterance.id]
        assert [name.split("_")[2] for name in names] == utterance.text.split()
        heard_S = read_audio(utterance.audio_path)
        for name, end_s in zip(names, utterance.word_ends_s, strict=True):
            word_S = read_audio(strings.corpora / "fsdd" / f"{name}.wav")
            end = round(16000 * end_s)
            assert heard_S[end - word_S.size : end] == pytest.approx(word_S, abs=1e-4)


def test_recordings_of_a_changed_source_are_refused(strings, tmp_path):
    from spine_score import string_recordings

    (tmp_path / "fsdd").mkdir()
    write_words(tmp_path / "fsdd", write_tone)
    table = tmp_path / "fsdd" / "transcripts.tsv"
    table.write_text(table.read_text("utf-8").replace("\tONE\t", "\tNINE\t"), "utf-8")
    with pytest.raises(ArtifactError, match="joined from other recordings"):
        string_recordings(strings.corpus, tmp_path, "test")


def write_evaluation(out, pairs):
    with write_artifact(out, kind="report") as draft:
        lines = [
            json.dumps({"id": f"u{i}", "speaker": f"s{i % 2}", "ref": ref, "hyp": hyp})
            for i, (ref, hyp) in enumerate(pairs)
        ]
        (draft.path / "hyps.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def test_wer_is_of_all_words_and_its_interval_of_recordings(tmp_path):
    from spine_score import delta_measurement, error_rows, wer_measurement

    write_evaluation(tmp_path / "a", [("ONE TWO", "ONE TWO"), ("SIX ONE", "SIX TWO")])
    write_evaluation(tmp_path / "b", [("ONE TWO", "ONE"), ("SIX ONE", "SIX TWO TWO")])
    recordings = {"u0": ("r1", "r2"), "u1": ("r3", "r1")}
    a, b = (error_rows(load_artifact(tmp_path / name), recordings) for name in "ab")
    assert a.errors == (0, 0, 0, 1)
    assert a.groups == ("r1", "r2", "r3", "r1")
    found = wer_measurement("wer", a, "note")
    assert (found.value, found.n, found.unit) == (25.0, 4, "%")
    assert "3 recordings" in found.note
    assert delta_measurement("delta", a, b, "note").value == 50.0
    by_speaker = error_rows(load_artifact(tmp_path / "b"), None)
    assert (by_speaker.errors, by_speaker.words) == ((1, 2), (2, 2))
    assert by_speaker.groups == ("s0", "s1")


def test_delays_carry_the_name_of_their_net(tmp_path):
    from spine_score import delay_measurements

    evaluated = (
        Measurement(name="wer", value=1.0, unit="%"),
        Measurement(name="emission_delay_ms.median", value=80.0, unit="ms", n=7, note="a"),
    )
    with write_artifact(tmp_path / "report", kind="report") as draft:
        report = Report(environment=environment(), measurements=evaluated)
        report.write_json(draft.path / "report.json")
    (found,) = delay_measurements("middle", load_artifact(tmp_path / "report"), "b")
    assert found.name == "emission_delay_ms.middle.median"
    assert (found.value, found.n, found.note) == (80.0, 7, "a; b")


def write_supernet(out, ledger):
    with write_artifact(out, kind="supernet") as draft:
        ledger.write_json(draft.path / "ledger.json")
    return load_artifact(out, "supernet")


def test_macs_are_read_from_the_ledger(strings, tmp_path):
    from spine_cost import macs_ratio

    config = recipe("tiny", open_corpus(strings.corpus).table.size)
    shapes = [TrainingShape(batch=4, frames=100 + step, target_len=3) for step in range(30)]
    found = []
    for start in (0.0, 0.5):
        sandwich = config.sandwich.model_copy(update={"start_fraction": start})
        planned = planned_ledger(config.model_copy(update={"sandwich": sandwich}), iter(shapes))
        measured = macs_ratio(write_supernet(tmp_path / str(start), planned))
        assert measured.value == planned.ratio_to_largest
        assert (measured.name, measured.n) == ("cost.ratio_to_largest", 30)
        found.append(measured.value)
    assert 1.0 < found[1] < found[0] < 3.0


def test_wall_times_are_of_both_ways_in_turns(strings):
    from spine_cost import step_times_s

    corpus = open_corpus(strings.corpus)
    times_s = step_times_s(recipe("tiny", corpus.table.size), corpus, [3, 7], threads=1)
    assert {name: len(times) for name, times in times_s.items()} == {"sandwich": 2, "largest": 2}
    assert all(time > 0 for times in times_s.values() for time in times)


def test_wall_ratio_weighs_kinds_of_steps(strings, monkeypatch):
    import spine_cost

    corpus = open_corpus(strings.corpus)
    config = recipe("tiny", corpus.table.size)
    sandwich = SandwichConfig(start_fraction=0.5, every=3)  # 5 of 30 steps train three nets
    late = config.model_copy(update={"sandwich": sandwich})
    assert {n: len(s) for n, s in spine_cost.steps_by_nets(late).items()} == {1: 25, 3: 5}
    monkeypatch.setattr(
        spine_cost, "step_times_s", lambda *_, **__: {"sandwich": [2.5], "largest": [1.0]}
    )
    found = spine_cost.wall_ratio(late, corpus, rounds=1, threads=1)
    assert found.value == pytest.approx(25 / 30 + 2.5 * 5 / 30)
    alone = config.model_copy(update={"sandwich": SandwichConfig(num_random=0, smallest=0)})
    assert spine_cost.wall_ratio(alone, corpus, rounds=1, threads=1).value == 1.0


def test_table_shows_units_and_what_is_missing():
    from spine_table import render

    made = partial(Measurement, n=3, note="a | b")
    # fmt: off
    report = Report(
        environment=Environment(
            machine="m", cpu="c", isa=(), cores=2, python="3", versions={"torch": "2"},
            commit="0", command="x", seeds=(1,), date="now",
        ),
        measurements=(
            made(name="fsdd.wer.largest", value=1.234, unit="%", low=1.0, high=2.0),
            made(name="bytes.this_host.onnx.int8", value=123456.0, unit="B"),
        ),
    )
    # fmt: on
    page = render(report, "Trial")
    assert "| largest | 1.23 [1.00, 2.00] | - | - / - |" in page
    assert "| this_host | - | 123456 | - | - | - | - / - | - | - / - |" in page
    assert "| fsdd.wer.largest | 1.23 | % | 1.00 | 2.00 | 3 | a / b |" in page


@pytest.mark.parametrize("arguments", [("--only", "fsdd,nonsense"), ("--corpus-dir", "/nowhere")])
def test_wrong_arguments_say_what_is_right(arguments, tmp_path):
    done = run_script("--work", tmp_path, *arguments)
    assert done.returncode != 0
    assert "nonsense: there are fsdd, cost" in done.stderr or "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_quick_run_makes_every_figure_and_goes_on_where_it_stopped(tmp_path):
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("executorch")
    from spine_table import required_names

    arguments = ("--quick", "--threads", 1, "--work", tmp_path / "work", "--out", tmp_path / "out")
    done = run_script(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    report = Report.read_json(tmp_path / "out" / "spine.json")
    names = {measurement.name for measurement in report.measurements}
    left_out = ("browser_tab", "mcu_arm")
    wanted = {n for n in required_names() if not n.startswith(PREFIXES)}
    assert {n for n in wanted if not any(device in n for device in left_out)} <= names
    assert len(names) == len(report.measurements)
    again = run_script(*arguments)
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stderr.count("reused") == done.stderr.count("done in")
    rerun = Report.read_json(tmp_path / "out" / "spine.json")
    assert rerun.measurements == report.measurements
