"""The battery of every runtime: a new one adds one line to ``CASES``.

Each runs in a process of its own, for sherpa-onnx ends its process when a model displeases it.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import formed_spec, gated_spec, linear_spec, made

from todm.decode.greedy import first_mismatch
from todm.decode.streaming import Transcript
from todm.runtimes import RUNTIMES
from todm.runtimes.eager import offline_transcript

CASES = {"ort": "bundle", "sherpa": "bundle", "executorch": "bundle", "torch": "subnet"}

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from todm.runtimes import open_recogniser
runtime, path, precision, audio = sys.argv[1:]
recogniser = open_recogniser(runtime, Path(path), precision)
with np.load(audio) as stored:
    recordings = [stored[name] for name in sorted(stored)]

def pushed(size):
    # all streams open at once, fed in turns
    streams = [recogniser.stream() for _ in recordings]
    for start in range(0, max(r.size for r in recordings), size):
        for stream, samples in zip(streams, recordings):
            stream.accept(samples[start : start + size])
    return [stream.finish().to_json() for stream in streams]

whole = [recogniser.transcribe(samples).to_json() for samples in recordings]
print(json.dumps([pushed(3200), pushed(777), whole]))
"""


@pytest.fixture(
    scope="module",
    params=[(), (formed_spec(),), (gated_spec(),), (linear_spec(), 3)],
    ids=["plain", "forms", "gated", "linear"],
)
def heard(request, tmp_path_factory):
    """What each runtime makes of a tiny net, and of one with every form of the mixer."""
    tiny = made(*request.param)
    audio = tmp_path_factory.mktemp("audio") / "audio.npz"
    sizes = (80000, 61234, 41)
    recordings = [samples[:size] for samples, size in zip(tiny.audio, sizes, strict=False)]
    np.savez(audio, *recordings)
    offline = [
        offline_transcript(tiny.model, tiny.spec, samples, tiny.contract, tiny.table)
        for samples in recordings
    ]

    def hear(runtime, precision="fp32"):
        command = [sys.executable, "-c", SCRIPT, runtime, str(getattr(tiny, CASES[runtime]))]
        done = subprocess.run(
            [*command, precision, str(audio)],
            capture_output=True, text=True, timeout=120, check=False,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        runs = json.loads(done.stdout.splitlines()[-1])
        return [[Transcript.model_validate(item) for item in run] for run in runs]

    return hear, offline


def test_every_runtime_has_its_case():
    assert set(CASES) == set(RUNTIMES)


@pytest.mark.parametrize("runtime", CASES)
def test_tokens_and_frames_equal_torch_offline(heard, runtime):
    hear, offline = heard
    assert len(set(offline[0].ids)) > 3  # else equality would show little
    for run in hear(runtime):
        for mine, reference in zip(run, offline, strict=True):
            mismatch = first_mismatch(reference.hypothesis, mine.hypothesis)
            assert mismatch is None, f"{runtime}: {mismatch}"
            assert (mine.ids, mine.frames) == (reference.ids, reference.frames)
            assert mine.text == reference.text
            assert mine.times_s == reference.times_s


def test_sherpa_and_onnxruntime_agree_in_int8(heard):
    # the same kernels on the same machine; on others int8 rounds differently
    hear, _ = heard
    ort, sherpa = hear("ort", "int8"), hear("sherpa", "int8")
    for mine, reference in zip(sherpa[0], ort[0], strict=True):
        assert first_mismatch(reference.hypothesis, mine.hypothesis) is None
