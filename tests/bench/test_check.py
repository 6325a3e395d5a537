"""``todm check``: what fails, what is not judged, what it exits with."""

import json
from functools import partial

import pytest
from fake_runtime import profile, write_bundle

from todm.bench import check
from todm.core.errors import ArtifactError, GateError
from todm.core.report import Report, Verdict, environment

QUICK = check.CheckConfig(seconds=0.5, paced_s=0.0, repeats=1, drift_s=0.0)


@pytest.fixture
def run_check(measure_command, token_command):
    return partial(check.run, config=QUICK, command=measure_command, token_command=token_command)


def parity_file(value, status="met"):
    verdict = Verdict(name="parity.ort", status=status, limit=1e-5, value=value, unit="")
    report = Report(environment=environment(), measurements=(), verdicts=(verdict,))
    return {"parity.json": json.dumps(report.to_json())}


def test_all_lines_met(tmp_path, speech, run_check):
    bundle = write_bundle(tmp_path / "b", parity_file(1e-6))
    report = run_check(bundle, profile=profile(rtf=50.0, bundle_bytes=1e6), audio=[speech])
    status = {v.name: v.status for v in report.verdicts}
    assert status == {
        "budget.rtf": "met",
        "budget.bundle_bytes": "met",
        "parity.stored.ort": "met",
        "gate.stored": "not_judged",
        "parity.tokens.ort_pushes": "met",
        "parity.tokens.ort_sherpa": "met",
    }
    check.require(report, bundle)


def test_failed_lines_are_named(tmp_path, run_check):
    bundle = write_bundle(tmp_path / "b", parity_file(1e-3, status="met"))
    report = run_check(bundle, profile=profile(bundle_bytes=1.0, macs_per_audio_s=1.0, rtf=1.0))
    with pytest.raises(GateError) as error:
        check.require(report, bundle)
    assert error.value.exit_code == 1
    for name in ("budget.bundle_bytes", "budget.macs_per_audio_s", "parity.stored.ort"):
        assert name in str(error.value)
    assert "budget.rtf" not in str(error.value)


def test_not_judged_is_shown_and_does_not_fail(bundle, run_check):
    report = run_check(bundle, profile=profile(rtf=1.0))
    assert {v.status for v in report.verdicts} == {"not_judged"}
    assert any(
        line.startswith("not judged") and "budget.rtf" in line for line in check.lines(report)
    )
    check.require(report, bundle)


def test_stored_profile_is_used(tmp_path, run_check):
    stored = {"profile.json": json.dumps(profile(bundle_bytes=1.0).to_json())}
    report = run_check(write_bundle(tmp_path / "b", stored))
    assert report.verdicts[0].name == "budget.bundle_bytes"
    assert report.verdicts[0].status == "failed"


def test_damage_stops_it(bundle, run_check):
    (bundle / "joiner.onnx").write_bytes(b"grapH")
    with pytest.raises(ArtifactError, match="sha256 differs"):
        run_check(bundle)
