"""Every command in turn on a tiny chain, each as users type it; none leaves this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUARD = '''
"""Refuse and record every connection to another host."""
import os, socket

def _is_local(address):
    local = ("127.", "::1", "localhost")
    return not isinstance(address, tuple) or str(address[0]).startswith(local)

def _guard(name):
    call = getattr(socket.socket, name)
    def guarded(self, address, *rest):
        if not _is_local(address):
            with open(os.environ["CONNECTIONS"], "a") as log:
                log.write(f"{name} {address}\\n")
            raise OSError(101, "Network is unreachable")
        return call(self, address, *rest)
    setattr(socket.socket, name, guarded)

for _name in ("connect", "connect_ex", "sendto"):
    _guard(_name)
_look_up = socket.getaddrinfo
def _getaddrinfo(host, *rest, **named):
    if not _is_local((host or "localhost",)):
        with open(os.environ["CONNECTIONS"], "a") as log:
            log.write(f"getaddrinfo {host}\\n")
        raise socket.gaierror(-3, "Temporary failure in name resolution")
    return _look_up(host, *rest, **named)
socket.getaddrinfo = _getaddrinfo
'''
DRIVER = """
import json, os, sys
import todm.cli
codes = []
for line in sys.stdin.read().splitlines():
    sys.argv = ["todm", *json.loads(line)]
    try:
        todm.cli.main()
    except SystemExit as left:
        codes.append(left.code)
if "onnxruntime" in sys.modules:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
sys.exit(max(codes))
"""
COMMANDS = """
prepare transcripts --path speech --out runs/corpus
train-supernet --recipe tiny --corpus runs/corpus --set schedule.steps=3 --out runs/supernet
search runs/supernet --set trials=3 --set population=2 --set eval_utterances=2 --out runs/front
extract runs/supernet --front runs/front --device raspberry_pi_4 --out runs/rpi4
finetune runs/rpi4 --set schedule.steps=2 --set schedule.warmup_steps=1 --out runs/tuned
export runs/tuned --out exports/rpi4
transcribe exports/rpi4 speech/test0.wav
transcribe exports/rpi4 --runtime sherpa speech/test0.wav --json
eval exports/rpi4 --set limit=2 --out runs/eval
bench exports/rpi4 --device this_host --set seconds=1 --set repeats=1 --out runs/bench
check exports/rpi4 --audio speech/test0.wav --set seconds=1
report runs/supernet runs/front exports/rpi4 runs/eval runs/bench --out runs/page
profiles
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, speech_writer):
    """Run the commands in one process, so that torch is imported once."""
    place = tmp_path_factory.mktemp("commands")
    speech_writer(place / "speech", {"train": 4, "dev": 41, "test": 3})
    (place / "guard").mkdir()
    (place / "guard/sitecustomize.py").write_text(GUARD, "utf-8")
    lines = [json.dumps(line.split()) for line in COMMANDS.strip().splitlines()]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=place,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(place / "guard"), str(ROOT)]),
            "CONNECTIONS": str(place / "connections.txt"),
        },
        timeout=600,
        check=False,
    )
    return done, place


def test_every_command_ends_well_and_prints_one_line(ran):
    done, _ = ran
    assert done.returncode == 0, done.stderr
    # an untrained net hears nothing: its transcript is an empty line
    kinds = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    made = [kind for kind in kinds if kind in ("corpus", "supernet", "front", "subnet", "bundle")]
    assert made == ["corpus", "supernet", "front", "subnet", "subnet", "bundle"]
    assert kinds.count("report") == 3


def test_results_are_complete_artifacts_and_nothing_else_is_left(ran):
    from todm.core.artifact import load_artifact

    _, place = ran
    assert sorted(path.name for path in (place / "runs").iterdir()) == [
        "bench", "corpus", "eval", "front", "page", "rpi4", "supernet", "tuned",
    ]  # fmt: skip
    for path in (*(place / "runs").iterdir(), place / "exports/rpi4"):
        load_artifact(path)


def test_no_command_connects_to_another_host(ran):
    _, place = ran
    log = place / "connections.txt"
    assert not log.exists(), log.read_text("utf-8")


def test_the_guard_guards(tmp_path):
    """Show that the test above can fail."""
    (tmp_path / "sitecustomize.py").write_text(GUARD, "utf-8")
    log = tmp_path / "connections.txt"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import urllib.request; urllib.request.urlopen('http://todm.invalid')",
        ],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "CONNECTIONS": str(log)},
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "todm.invalid" in log.read_text("utf-8")
