"""Bench reports: figures, intervals, verdicts."""

import pytest
from fake_runtime import SPEC, profile

from todm.bench.figures import timed_measurements
from todm.bench.job import BenchJob, Measured
from todm.bench.run import REPORT, BenchConfig, budget_values, job_of, run, run_many
from todm.core.artifact import load_artifact, write_artifact
from todm.core.cost import macs_per_audio_s
from todm.core.errors import ArtifactError, DataError
from todm.core.report import Report

QUICK = BenchConfig(runtime="fake", seconds=0.6, paced_s=0.3, repeats=2)


def test_report_and_artifact(bundle, speech, measure_command, tmp_path):
    device = profile(chunk_latency_p95_ms=1e6, bundle_bytes=1.0)
    report = run(
        bundle, [speech], QUICK, profile=device, out=tmp_path / "bench", command=measure_command
    )
    names = {m.name for m in report.measurements}
    assert names >= {
        "latency_ms.p50",
        "latency_ms.p95",
        "latency_ms.p99",
        "latency_ms.paced.p95",
        "rtf",
        "load_s",
        "bundle_bytes",
        "params",
        "macs_per_audio_s",
        "macs.encoder",
        "time_ms.joiner",
    }
    p50 = next(m for m in report.measurements if m.name == "latency_ms.p50")
    assert p50.n == 2 * 3
    assert p50.low <= p50.value <= p50.high
    assert report.value("macs_per_audio_s") == macs_per_audio_s(SPEC)
    assert report.value("bundle_bytes") == 15 + (bundle / "tokens.txt").stat().st_size
    status = {v.name: v.status for v in report.verdicts}
    assert status == {"chunk_latency_p95_ms": "met", "bundle_bytes": "failed"}
    artifact = load_artifact(tmp_path / "bench", "report")
    assert artifact.body["runtime"] == "fake"
    assert Report.read_json(artifact.file(REPORT)) == report


def test_many_give_a_report_each(bundle, speech, measure_command):
    config = QUICK.model_copy(update={"repeats": 1, "paced_s": 0.0})
    reports = run_many({"a": bundle, "b": bundle}, [speech], config, command=measure_command)
    assert set(reports) == {"a", "b"}
    assert not any("paced" in m.name for m in reports["a"].measurements)


def test_budget_takes_the_worse_latency():
    found = Measured(
        chunk_ms=160,
        back_to_back_ms=(1.0, 1.0),
        paced_ms=(3.0, 3.0),
        import_s=1,
        load_s=1,
        peak_ram_bytes=None,
        ram_note="",
        split_ms=None,
        tokens=0,
    )
    job = BenchJob(model="m", runtime="ort", audio=("a",))
    values = budget_values(timed_measurements([found], job))
    assert values["chunk_latency_p95_ms"] == 3.0
    assert "peak_ram_bytes" not in values
    assert values["rtf"] == pytest.approx(1 / 160)


def test_wrong_inputs(bundle, speech, tmp_path):
    with pytest.raises(DataError, match="no speech"):
        run(bundle, [], QUICK)
    with write_artifact(tmp_path / "front", kind="front"):
        pass
    with pytest.raises(ArtifactError, match="is a front artifact; give a bundle"):
        run(tmp_path / "front", [speech], QUICK)


def test_runtime_follows_the_bundle(bundle, speech):
    artifact = load_artifact(bundle)
    assert job_of(artifact, [speech], BenchConfig(), None).runtime == "ort"
    web = profile(rtf=1.0).model_copy(update={"runtime": "executorch"})
    assert job_of(artifact, [speech], BenchConfig(), web).runtime == "ort"
