"""Searches are judged on the table of every net, and the script runs."""

import sys
from pathlib import Path

import pytest

from todm.core.front import FrontPoint
from todm.core.report import Report
from todm.core.space import SearchSpace
from todm.recipes.spaces import small_space


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import search_quality

    return search_quality


def table(script):
    whole = small_space(12)
    fields = {name: getattr(whole, name) for name in SearchSpace.model_fields}
    space = script.UniformSpace(**fields)
    points = tuple(
        FrontPoint.of(spec, wer=40.0 / (1 + len(spec.blocks) * spec.blocks[0].ffn_dim), nll=1.0)
        for spec in space.every()
    )
    return script.Table(space, points, 100)


def test_every_uniform_net_is_in_the_table_and_the_front_is_worth_one(script):
    made = table(script)
    assert len(made.points) == made.space.count() >= 600
    assert len({p.spec for p in made.points}) == len(made.points)
    for point in made.points[::97]:
        assert made.space.decode(made.space.encode(point.spec)) == point.spec
    quality = script.quality_of(made)
    assert quality(made.points) == pytest.approx(1.0)
    assert quality(made.points[:5]) < 1.0


def test_searches_take_as_many_nets_and_are_repeatable(script):
    made = table(script)
    found = script.nsga2(made, 30, seed=3)
    assert len({p.spec for p in found}) == 30
    assert script.nsga2(made, 30, seed=3) == found
    first = [p.spec for p in made.points[:4]]
    drawn = script.drawn(made, 30, 3, first)
    assert len({p.spec for p in drawn}) == 30
    assert [p.spec for p in drawn[:4]] == first


def test_quick_run_cuts_out_nets_that_hear_the_same(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["search_quality.py", "--quick", "--work", str(tmp_path)])
    assert script.main() == 0
    report = Report.read_json(tmp_path / "search_quality.json")
    assert report.value("extracted.differing_utterances") == 0
    assert report.value("extracted.wer_minus_supernet") == 0
    assert 0 < report.value("nsga2.hypervolume_ratio") <= 1
