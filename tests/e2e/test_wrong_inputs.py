"""Wrong inputs through the command line: exit code, one line that helps, nothing left behind.

The cases run ``todm.cli.main`` in this process, a dozen of them in a process of their own too.
"""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import wrong_data
import wrong_models
from wrong_inputs import PREPARE, ROOT, TONE_S, Case, recording

import todm.cli
from todm.core.artifact import Manifest

CASES = wrong_data.CASES + wrong_models.CASES


@pytest.fixture
def place(chain, tmp_path, monkeypatch):
    """A working directory with a copy of the chain."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TODM_CORPORA", raising=False)
    return chain.copy_to(tmp_path)


def tree():
    return {
        str(path): path.stat().st_mtime_ns if path.is_file() else 0
        for path in Path().rglob("*")
        if "__pycache__" not in path.parts
    }


def words_of(case, chain):
    return [word.format(**vars(chain)) for word in case.arguments.split()]


def judge(case, code, told, before):
    lines = told.splitlines()
    assert code == case.code, told
    assert re.search(case.says, lines[-1]), told
    assert lines[-1].startswith("todm: error: ")
    assert len(lines) == 1 + case.remarks, told
    assert tree() == before


def run_here(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["todm", *arguments])
    with pytest.raises(SystemExit) as left:
        todm.cli.main()
    return left.value.code, capsys.readouterr()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_wrong_input(case, place, monkeypatch, capsys):
    case.arrange(place)
    before = tree()
    code, printed = run_here(words_of(case, place), monkeypatch, capsys)
    assert printed.out == ""
    judge(case, code, printed.err, before)


IN_A_PROCESS = {
    "no such folder",
    "no such corpus",
    "empty corpus folder",
    "config not JSON",
    "config with a TOML slip",
    "unknown --set key",
    "out is no artifact",
    "unknown profile",
    "profile with an unknown key",
    "empty audio in a corpus",
    "unknown recipe",
    "a damaged byte",
    "impossible budget",
    "stereo",
}
END_TO_END = [case for case in CASES if case.name in IN_A_PROCESS]


@pytest.mark.parametrize("case", END_TO_END, ids=lambda case: case.name)
def test_wrong_input_end_to_end(case, place):
    """The same, through a real process."""
    case.arrange(place)
    before = tree()
    done = subprocess.run(
        [sys.executable, "-c", "from todm.cli import main; main()", *words_of(case, place)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    assert done.stdout == ""
    judge(case, done.returncode, done.stderr, before)


def test_there_are_enough():
    assert len({case.name for case in CASES}) == len(CASES) >= 25
    assert len(END_TO_END) == len(IN_A_PROCESS) >= 12


def test_another_sample_rate_is_resampled(place, monkeypatch, capsys):
    """The one wrong-looking input that is right."""
    soundfile.write("a.wav", np.repeat(TONE_S, 3), 48000)
    code, printed = run_here(["transcribe", str(place.subnet), "a.wav"], monkeypatch, capsys)
    assert (code, printed.err) == (0, "")


@pytest.mark.parametrize(
    ("number", "says"), [("ENOSPC", "No space left on device"), ("EROFS", "Read-only file system")]
)
@pytest.mark.parametrize("where", ["first", "last"])
def test_no_space_and_read_only(place, monkeypatch, capsys, number, says, where):
    """Injected, since tests may run as root: at the first write, or at the manifest."""

    def refuse(self, *arguments, **options):
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), str(self))

    before = tree()
    if where == "first":
        mkdir = Path.mkdir

        def only_ours(self, *arguments, **options):
            if ".new.tmp-" in str(self):
                refuse(self)
            mkdir(self, *arguments, **options)

        monkeypatch.setattr(Path, "mkdir", only_ours)
    else:
        monkeypatch.setattr(Manifest, "write_json", refuse)
    command = PREPARE.format(**vars(place)).split()
    code, printed = run_here(command, monkeypatch, capsys)
    case = Case("", "", 2, f"new: cannot write .*{says}")
    judge(case, code, printed.err, before)


def test_an_earlier_result_survives_a_failure(place, monkeypatch, capsys):
    """Prepare over an existing corpus: a bad recording leaves the old one whole."""
    recording(TONE_S[:0])(place)
    before = tree()
    command = PREPARE.replace("--out new", "--out {corpus} --strict").format(**vars(place)).split()
    code, printed = run_here(command, monkeypatch, capsys)
    judge(Case("", "", 2, "no audio"), code, printed.err, before)
