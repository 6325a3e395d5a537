"""The measurement process: its answer, its errors, its pace."""

import json
import subprocess
import sys

import numpy as np
import pytest
from fake_runtime import bursts, open_fake

from todm.bench.child import bench_many, run_child
from todm.bench.job import PARTS, BenchJob
from todm.bench.measure import chunk_times_ms, chunks, num_chunks
from todm.bench.memory import PeakMeter, peak_bytes
from todm.core.errors import ArtifactError, ConfigError, DataError


def job(bundle, speech, **changes):
    values = {
        "model": bundle,
        "runtime": "fake",
        "audio": (speech,),
        "seconds": 1.0,
        "paced_s": 0.4,
    }
    return BenchJob.model_validate(values | changes)


def test_child_prints_one_json(bundle, speech, measure_command):
    done = subprocess.run(
        measure_command,
        input=json.dumps(job(bundle, speech).to_json()),
        text=True,
        capture_output=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    answer = json.loads(line)
    assert len(answer["back_to_back_ms"]) == int(1000 / 160)
    assert len(answer["paced_ms"]) == 2
    assert answer["chunk_ms"] == 160
    assert set(answer["split_ms"]) == set(PARTS)
    assert answer["tokens"] > 0
    assert "VmHWM" in answer["ram_note"]


def test_child_errors_keep_class_and_line(bundle, speech, measure_command, tmp_path):
    with pytest.raises(DataError, match="no such audio file"):
        run_child(job(bundle, tmp_path / "none.wav"), measure_command)
    with pytest.raises(ConfigError, match="no runtime 'nothing'"):
        run_child(job(bundle, speech, runtime="nothing"), measure_command)


def test_a_dying_child_is_one_line(bundle, speech, measure_command):
    with pytest.raises(ArtifactError, match="ended with code 255") as error:
        run_child(job(bundle, speech, runtime="broken"), measure_command)
    assert "\n" not in str(error.value)


def test_repeats_are_interleaved(bundle, speech, monkeypatch):
    order = []
    monkeypatch.setattr("todm.bench.child.run_child", lambda one, _: order.append(one.threads))
    jobs = {"a": job(bundle, speech, threads=1), "b": job(bundle, speech, threads=2)}
    found = bench_many(jobs, repeats=2)
    assert order == [1, 2, 1, 2]
    assert [len(repeats) for repeats in found.values()] == [2, 2]


def test_a_device_needs_no_torch():
    modules = "todm.bench.run, todm.bench.check, todm.bench.measure, todm.evaluate.run"
    code = f"import sys, {modules}, todm.evaluate.transcribe; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pace_takes_as_long_as_the_audio(bundle):
    recogniser = open_fake(bundle, "fp32", 1)
    waits = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("todm.bench.measure.sleep", waits.append)
        times_ms, _ = chunk_times_ms(recogniser, bursts(0.3), 0.8, 2, period_s=0.16)
    assert len(times_ms) == 5
    assert len(waits) == 7
    assert all(0.0 < wait <= 7 * 0.16 for wait in waits)


def test_no_pace_asked_for(bundle, speech):
    recogniser = open_fake(bundle, "fp32", 1)
    assert chunk_times_ms(recogniser, bursts(0.3), 0.0, 2, period_s=0.16) == ([], 0)
    assert num_chunks(recogniser.contract, 0.0) == 0


def test_short_audio_is_repeated(bundle):
    contract = open_fake(bundle, "fp32", 1).contract
    audio_S = np.arange(1000, dtype=np.float32)
    blocks = list(chunks(audio_S, contract, 6))
    assert all(block.size == 2560 for block in blocks)
    joined_S = np.concatenate(blocks)
    np.testing.assert_array_equal(joined_S, np.arange(joined_S.size) % 1000)


@pytest.mark.skipif(peak_bytes() is None, reason="no VmHWM here")
def test_peak_sees_an_allocation():
    meter = PeakMeter.start()
    held = np.ones(8_000_000)
    rise = meter.rise_bytes()
    assert rise is not None
    if meter.was_reset:
        assert rise == pytest.approx(held.nbytes, rel=0.2)
