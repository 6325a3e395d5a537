"""Results of a part or a trial never lie among the results; errors are a line and a code."""

from argparse import Namespace
from pathlib import Path

import arguments
import pytest
from pages import QUICK, RESULTS

from todm.core.errors import ConfigError


@pytest.mark.parametrize("work", [None, "w"])
@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("partial", [True, False])
def test_only_a_complete_run_writes_results(tmp_path, monkeypatch, work, quick, partial):
    monkeypatch.chdir(tmp_path)
    given = None if work is None else Path(work)
    args = Namespace(quick=quick, work=given, out=None)
    made, out = arguments.folders(args, "trial", str(tmp_path / "s"), partial=quick or partial)
    assert made.is_dir()
    assert made == given or made == (tmp_path / "s" if quick else Path("runs/trial"))
    assert (out == RESULTS) == (not quick and not partial)
    assert out in (RESULTS, QUICK, made)
    assert out != tmp_path / "s"  # that folder is deleted
    args.out = Path("elsewhere")
    assert arguments.folders(args, "trial", str(tmp_path), partial=partial)[1] == args.out


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("out", [None, Path("a/b.json")])
def test_logs_stay_out_of_the_results(quick, out):
    args = Namespace(quick=quick, out=out, log=None)
    found = arguments.log_path(args, "trial")
    assert found.suffix == ".jsonl"
    assert RESULTS not in found.parents
    if out is not None:
        assert found == Path("a/b.jsonl")
    args.log = Path("c.jsonl")
    assert arguments.log_path(args, "trial") == args.log


def test_an_error_of_the_users_is_a_line_and_its_exit_code(capsys):
    def fail():
        raise ConfigError("give --corpus")

    assert arguments.told("trial", fail) == 2
    assert capsys.readouterr().err == "trial: give --corpus\n"
    assert arguments.told("trial", lambda: None) == 0
