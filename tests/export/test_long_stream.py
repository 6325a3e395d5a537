"""An hour of one stream: the state stays bounded and the process does not grow."""

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import babble

from todm.features.fbank import OnlineFbank
from todm.runtimes.bundle import PARTS, onnx_name
from todm.runtimes.ort import OrtSteps

MINUTE_S, MINUTES = 60, 60


def resident_bytes():
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_hour_of_one_stream(tiny, precision):
    files = {
        part: tiny.bundle / onnx_name(part, precision)
        for part in PARTS
        if (tiny.bundle / onnx_name(part, precision)).is_file()
    }
    steps = OrtSteps(files, tiny.contract)
    features, state_1S = OnlineFbank(), steps.zero_state()
    chunk, done, largest, memory = tiny.contract.input_frames, 0, [], []
    minute_S = babble(MINUTE_S, 5)
    for _ in range(MINUTES):
        most = 0.0
        for start in range(0, minute_S.size, 3200):
            features.accept(minute_S[start : start + 3200])
            while done + chunk < features.ready_frames:
                enc_1KJ, state_1S = steps.encode(features.frames(done, chunk)[None], state_1S)
                done += chunk
                most = max(most, float(np.abs(state_1S).max()))
        assert np.isfinite(enc_1KJ).all()
        largest.append(most)
        memory.append(resident_bytes())
    assert max(largest[10:]) <= 1.05 * max(largest[:10])
    assert memory[-1] - memory[9] < 1_000_000
