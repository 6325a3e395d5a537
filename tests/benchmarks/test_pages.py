"""The pages beside the results are what their scripts make of the JSON, character by character."""

from functools import partial

import lssl_scaling
import pages
import pgn_scaling
import pytest
import quantization
import rnnt_loss
import runtimes
import scan_forms
import search_quality
import spine_table
import ssm_forms
import token_identity
import tpgn_table
import train_profile

from todm.core.report import Measurement, Report, environment

PAGES = {
    "lssl_scaling": lssl_scaling.render,
    "pgn_scaling": pgn_scaling.render,
    "drift": partial(quantization.render, "Drift over one long stream"),
    "quantization": partial(quantization.render, "Quantization"),
    "rnnt_loss": rnnt_loss.render,
    "runtimes": runtimes.render,
    "scan_forms": scan_forms.render,
    "search_quality": search_quality.render,
    "spine": partial(spine_table.render, title="The spine"),
    "ssm_forms": ssm_forms.render,
    "token_identity": token_identity.render,
    "tpgn": tpgn_table.render,
    "train_profile": train_profile.render,
}


@pytest.mark.parametrize("stem", PAGES)
def test_a_page_is_made_of_its_json_alone(stem):
    report = pages.RESULTS / f"{stem}.json"
    made = PAGES[stem](Report.read_json(report))
    assert report.with_suffix(".md").read_text("utf-8") == made


def test_figures_are_printed_by_unit_or_all_alike():
    figures = [
        Measurement(name="a", value=1.23456, unit="ms", low=1.0, note="x | y\nz"),
        Measurement(name="b", value=0.000123456, unit="s"),
    ]
    assert pages.everything(figures).splitlines()[2:] == [
        "| a | 1.23 | ms | 1.00 |  | 1 | x / y z |",
        "| b | 0.0 | s |  |  | 1 |  |",
    ]
    assert pages.everything(figures, ".4g").splitlines()[2:] == [
        "| a | 1.235 | ms | 1 |  | 1 | x / y z |",
        "| b | 0.0001235 | s |  |  | 1 |  |",
    ]


def test_small_fractions_keep_their_digits():
    assert [pages.number(v, "") for v in (0.0, 2.7123e-7, -0.00099, 0.5)] == [
        "0.0000",
        "2.71e-07",
        "-0.00099",
        "0.5000",
    ]


def test_figures_of_another_report_say_where_they_are_from(tmp_path):
    path = tmp_path / "other.json"
    assert pages.of_report(path) == []
    figures = (Measurement(name="a", value=1.0, unit="ms", note="x"),)
    env = environment().model_copy(update={"commit": "abc1234", "date": "today"})
    Report(environment=env, measurements=figures).write_json(path)
    (found,) = pages.of_report(path)
    assert found == figures[0].model_copy(update={"note": "x; other.json, commit abc1234, today"})
