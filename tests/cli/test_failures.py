"""Every failure is one line and its exit code; --debug shows the traceback."""

import errno
import sys
from urllib.error import URLError

import pytest

import todm.cli
from todm.cli.failures import explain_failure, guarded
from todm.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    GateError,
    InfeasibleError,
    MissingExtraError,
    TodmError,
)


def raising(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (GateError("WER 12 % is above 10 %"), 1, "WER 12 % is above 10 %"),
        (ConfigError("unknown key"), 2, "unknown key"),
        (DataError("empty"), 2, "empty"),
        (ArtifactError("damaged"), 2, "damaged"),
        (InfeasibleError("needs 5 B"), 3, "needs 5 B"),
        (MissingExtraError("onnx", extra="onnx"), 4, "pip install 'todm[onnx]'"),
        (TodmError("ours"), 70, "ours"),
        (KeyError("x"), 70, "internal: KeyError: 'x'; rerun with --debug and report it"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 4, "todm[train]"),
        (ModuleNotFoundError("no", name="torch.onnx.x"), 4, "todm[train]"),
        (ModuleNotFoundError("No module named 'zzz'", name="zzz"), 70, "internal"),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 2, "f: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), 2, "choose a folder that can be written"),
        (OSError(errno.ENOTDIR, "Not a directory", "a/b"), 2, "a/b: Not a directory; choose"),
        (URLError("no such host"), 2, "download failed (no such host); check the connection"),
        (OSError(errno.EIO, "I/O error"), 70, "internal: OSError"),
        (ValueError("two\nlines"), 70, "two lines"),
    ],
)
def test_one_line_and_the_code(error, code, line, capsys):
    assert guarded(raising(error), debug=False) == code
    told = capsys.readouterr().err
    assert told.startswith("todm: error: ")
    assert told.count("\n") == 1
    assert line in told


def test_interruption(capsys):
    assert guarded(raising(KeyboardInterrupt()), debug=False) == 130
    assert capsys.readouterr().err == "todm: interrupted\n"


def test_interruption_inside_a_command(monkeypatch, capsys):
    monkeypatch.setattr("todm.core.profile.shipped_profiles", raising(KeyboardInterrupt()))
    monkeypatch.setattr(sys, "argv", ["todm", "profiles"])
    with pytest.raises(SystemExit) as left:
        todm.cli.main()
    assert (left.value.code, capsys.readouterr().err) == (130, "todm: interrupted\n")


def test_debug_shows_the_traceback_and_then_the_line(capsys):
    assert guarded(raising(DataError("empty")), debug=True) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "todm: error: empty"


def test_success():
    assert guarded(lambda: None, debug=False) == 0


def test_every_class_of_the_tree_has_its_own_exit_code_or_its_base_s():
    def leaves(kind):
        return [kind, *(leaf for sub in kind.__subclasses__() for leaf in leaves(sub))]

    codes = {kind.__name__: kind.exit_code for kind in leaves(TodmError)}
    assert set(codes.values()) == {1, 2, 3, 4, 70, 75}


@pytest.mark.parametrize("arguments", [["--debug", "profiles", "x"], ["profiles", "x", "--debug"]])
def test_debug_may_stand_anywhere(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["todm", *arguments])
    with pytest.raises(SystemExit) as left:
        todm.cli.main()
    assert left.value.code == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["prepare"], "Missing option '--out'"),
        (["trian-supernet"], "No such command 'trian-supernet'"),
        (["profiles", "--jsno"], "No such option"),
        (["eval", "x", "--split", "tset"], "tset"),
        (["transcribe"], "Missing argument"),
    ],
)
def test_wrong_usage_is_one_line(monkeypatch, capsys, arguments, line):
    monkeypatch.setattr(sys, "argv", ["todm", *arguments])
    with pytest.raises(SystemExit) as left:
        todm.cli.main()
    told = capsys.readouterr().err
    assert left.value.code == 2
    assert told.count("\n") == 1
    assert line in told


def test_a_package_that_is_not_there_names_its_extra():
    message, code = explain_failure(ModuleNotFoundError("no", name="sherpa_onnx"))
    assert (message, code) == ("needs the package 'sherpa_onnx': pip install 'todm[sherpa]'", 4)
