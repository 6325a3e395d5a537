"""Searches are judged on the table of every net, and the script runs."""

import sys

import pytest
import search_quality

from todm.core.front import FrontPoint
from todm.core.report import Report
from todm.core.space import SearchSpace
from todm.recipes.spaces import small_space


def table():
    whole = small_space(12)
    fields = {name: getattr(whole, name) for name in SearchSpace.model_fields}
    space = search_quality.UniformSpace(**fields)
    points = tuple(
        FrontPoint.of(spec, wer=40.0 / (1 + len(spec.blocks) * spec.blocks[0].ffn_dim), nll=1.0)
        for spec in space.every()
    )
    return search_quality.Table(space, points, 100)


def test_every_uniform_net_is_in_the_table_and_the_front_is_worth_one():
    made = table()
    assert len(made.points) == made.space.count() >= 600
    assert len({p.spec for p in made.points}) == len(made.points)
    for point in made.points[::97]:
        assert made.space.decode(made.space.encode(point.spec)) == point.spec
    quality = search_quality.quality_of(made)
    assert quality(made.points) == pytest.approx(1.0)
    assert quality(made.points[:5]) < 1.0


def test_searches_take_as_many_nets_and_are_repeatable():
    made = table()
    found = search_quality.nsga2(made, 30, seed=3)
    assert len({p.spec for p in found}) == 30
    assert search_quality.nsga2(made, 30, seed=3) == found
    first = [p.spec for p in made.points[:4]]
    drawn = search_quality.drawn(made, 30, 3, first)
    assert len({p.spec for p in drawn}) == 30
    assert [p.spec for p in drawn[:4]] == first


def test_quick_run_cuts_out_nets_that_hear_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["search_quality.py", "--quick", "--work", str(tmp_path)])
    assert search_quality.main() == 0
    report = Report.read_json(tmp_path / "search_quality.json")
    assert report.value("extracted.differing_utterances") == 0
    assert report.value("extracted.wer_minus_supernet") == 0
    assert 0 < report.value("nsga2.hypervolume_ratio") <= 1
