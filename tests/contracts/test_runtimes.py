"""The battery of every runtime: a new one adds one line to ``CASES``.

Each runs in a process of its own, for sherpa-onnx ends its process when a model displeases it; one
process hears all nets, for starting it takes seconds.
"""

import json
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import LONG, formed_spec, gated_spec, linear_spec, made

from todm.core.errors import MissingToolError
from todm.decode.greedy import first_mismatch
from todm.decode.streaming import Transcript
from todm.runtimes import RUNTIMES, tools
from todm.runtimes.eager import offline_transcript

CASES = {
    "ort": "bundle",
    "sherpa": "bundle",
    "executorch": "bundle",
    "sherpa_node": "bundle",
    "ort_web": "bundle",
    "torch": "subnet",
    "torch_offline": "subnet",
}
NEEDS = {
    "sherpa_node": (tools.node, partial(tools.node_package, "sherpa-onnx")),
    "ort_web": (tools.browser, partial(tools.node_package, "onnxruntime-web")),
}
NETS = {
    "plain": (),
    "forms": (formed_spec(),),
    "gated": (gated_spec(),),
    "linear": (linear_spec(), 3, LONG),
}
"""A tiny net, and ones with every form of the mixers."""


def require_tools(runtime):
    """Skip where a program outside Python is not installed: not run, and not passed."""
    try:
        for needed in NEEDS.get(runtime, ()):
            needed()
    except MissingToolError as error:
        pytest.skip(str(error))


SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from todm.runtimes import open_recogniser
runtime, precision, *given = sys.argv[1:]

def pushed(recogniser, recordings, size):
    # all streams open at once, fed in turns
    streams = [recogniser.stream() for _ in recordings]
    for start in range(0, max(r.size for r in recordings), size):
        for stream, samples in zip(streams, recordings):
            stream.accept(samples[start : start + size])
    return [stream.finish().to_json() for stream in streams]

for path, audio in zip(given[::2], given[1::2]):
    recogniser = open_recogniser(runtime, Path(path), precision)
    with np.load(audio) as stored:
        recordings = [stored[name] for name in sorted(stored)]
    whole = [recogniser.transcribe(samples).to_json() for samples in recordings]
    runs = [pushed(recogniser, recordings, 3200), pushed(recogniser, recordings, 777), whole]
    print("heard " + json.dumps(runs), flush=True)
"""


@cache
def recordings_of(net):
    tiny = made(*NETS[net])
    sizes = (80000, 61234, 41)
    recordings = [samples[:size] for samples, size in zip(tiny.audio, sizes, strict=False)]
    return [*recordings, ends_with_a_token(tiny)]


@pytest.fixture(scope="module")
def hear_all(tmp_path_factory):
    """Return what a runtime makes of every net: one process for all."""
    folder = tmp_path_factory.mktemp("audio")
    for net in NETS:
        np.savez(folder / f"{net}.npz", *recordings_of(net))

    @cache
    def hear_all(runtime, precision):
        given = [
            str(path)
            for net, which in NETS.items()
            for path in (getattr(made(*which), CASES[runtime]), folder / f"{net}.npz")
        ]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, runtime, precision, *given],
            capture_output=True, text=True, timeout=600, check=False,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        lines = [line[6:] for line in done.stdout.splitlines() if line.startswith("heard ")]
        return dict(zip(NETS, map(json.loads, lines), strict=False)), done.stderr

    return hear_all


@pytest.fixture(scope="module", params=NETS)
def heard(request, hear_all):
    """What each runtime makes of a net."""
    net = request.param
    tiny, recordings = made(*NETS[net]), recordings_of(net)
    offline = [
        offline_transcript(tiny.model, tiny.spec, samples, tiny.contract, tiny.table)
        for samples in recordings
    ]

    def hear(runtime, precision="fp32"):
        require_tools(runtime)
        found, said = hear_all(runtime, precision)
        assert net in found, said
        return [[Transcript.model_validate(item) for item in run] for run in found[net]]

    return hear, offline, recordings


def ends_with_a_token(tiny):
    """A recording that is cut off within 80 ms of its last token."""
    samples = tiny.audio[3]
    whole = offline_transcript(tiny.model, tiny.spec, samples, tiny.contract, tiny.table)
    return samples[: 640 * (whole.frames[len(whole.frames) // 2] + 2)]


def test_every_runtime_has_its_case():
    assert set(CASES) == set(RUNTIMES)


@pytest.mark.parametrize("runtime", CASES)
def test_tokens_and_frames_equal_torch_offline(heard, runtime):
    hear, offline, _ = heard
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
    hear, _, _ = heard
    ort, sherpa = hear("ort", "int8"), hear("sherpa", "int8")
    for mine, reference in zip(sherpa[0], ort[0], strict=True):
        assert first_mismatch(reference.hypothesis, mine.hypothesis) is None


@pytest.mark.parametrize("net", NETS)
def test_words_at_the_very_end_come_out_by_the_tail(net):
    # tokens of every runtime equal torch's for this recording too; here: it needs the tail
    tiny, recordings = made(*NETS[net]), recordings_of(net)
    offline = [offline_transcript(tiny.model, tiny.spec, recordings[-1], tiny.contract, tiny.table)]
    last = offline[-1]
    assert last.frames[-1] >= recordings[-1].size / 640 - 8  # in the last 320 ms or later
    without = subprocess.run(
        [sys.executable, "-c", WITHOUT_TAIL, str(tiny.bundle)],
        input=json.dumps(recordings[-1].tolist()),
        capture_output=True, text=True, timeout=120, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert int(without.stdout) < len(last.ids)


WITHOUT_TAIL = """
import json, sys
from pathlib import Path
import numpy as np
from todm.runtimes import open_recogniser
stream = open_recogniser("ort", Path(sys.argv[1])).stream()
stream.accept(np.array(json.load(sys.stdin), np.float32))
print(len(stream.transcript.ids))
"""

ENDPOINTS = """
import json, sys
from pathlib import Path
import numpy as np
import sherpa_onnx
folder, samples = Path(sys.argv[1]), np.array(json.load(sys.stdin), np.float32)
recognizer = sherpa_onnx.OnlineRecognizer.from_transducer(
    tokens=str(folder / "tokens.txt"), encoder=str(folder / "encoder.onnx"),
    decoder=str(folder / "decoder.onnx"), joiner=str(folder / "joiner.onnx"), num_threads=1,
    model_type="lstm", enable_endpoint_detection=True, rule1_min_trailing_silence=100.0,
    rule2_min_trailing_silence=100.0, rule3_min_utterance_length=1.0)
stream, tokens, endpoints = recognizer.create_stream(), [], 0
for start in range(0, samples.size, 1600):
    stream.accept_waveform(16000, samples[start : start + 1600])
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    if recognizer.is_endpoint(stream) and recognizer.get_result_all(stream).tokens:
        tokens += recognizer.get_result_all(stream).tokens
        recognizer.reset(stream)
        endpoints += 1
tokens += recognizer.get_result_all(stream).tokens
print(json.dumps([endpoints, tokens]))
"""


def test_an_endpoint_keeps_state_and_context():
    tiny = made()
    assert tiny.contract.endpoint_rule == "keep_state_and_context"
    samples = np.concatenate([*tiny.audio[:2], np.zeros(16000, np.float32)])
    done = subprocess.run(
        [sys.executable, "-c", ENDPOINTS, str(tiny.bundle)],
        input=json.dumps(samples.tolist()), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    endpoints, tokens = json.loads(done.stdout.splitlines()[-1])
    whole = offline_transcript(tiny.model, tiny.spec, samples, tiny.contract, tiny.table)
    assert endpoints > 3
    count = len(tokens)  # the last chunks wait for a tail
    assert count > 0.8 * len(whole.ids)
    symbols = [tiny.table.symbols[i].replace("\u2581", " ") for i in whole.ids]
    assert tokens == symbols[:count]
