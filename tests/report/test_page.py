"""The report page: complete, self-contained, valid, and honest about gaps."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from todm.core.artifact import load_artifact, write_artifact
from todm.core.errors import ArtifactError
from todm.core.front import TRIALS_FILE, Front
from todm.core.report import Verdict
from todm.report.charts import nice_step, number, quantity, thin, x_axis, y_axis
from todm.report.run import PAGE, ReportSources, run
from todm.report.sources import Device

VOID = {"meta", "link"}


@pytest.fixture(scope="module")
def html(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report"
    return run(sources, out).file(PAGE).read_text("utf-8")


class Tags(HTMLParser):
    """Checks that tags nest, and collects ids."""

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_tags_nest_and_ids_are_unique(html):
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))


def test_nothing_to_fetch_and_no_script(html):
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)
    assert "<script" not in html
    assert set(re.findall(r'(?:src|href)="([^"]*)"', html)) == {"data:,"}


def test_every_part_is_there(html):
    for heading in (
        "Devices",
        "Search",
        "Training",
        "Where time",
        "Architectures",
        "Budgets",
        "Seconds of each stage",
        "Environment",
    ):
        assert f"<h2>{heading}" in html
    for text in (
        "This host",
        "Pareto front",
        "not judged",
        "2.41",
        "260.8",
        "budget 32",
        "largest",
        'name="viewport"',
        "prefers-color-scheme:dark",
        'lang="en"',
    ):
        assert text in html


def test_drawings_have_text_alternatives_and_are_well_formed(html):
    drawings = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    assert len([d for d in drawings if 'role="img"' in d]) == 5
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        hidden = root.get("aria-hidden") == "true"
        assert hidden or (root.find("title").text and root.find("desc").text)
        for number_text in re.findall(r'[xy12]="(-?[\d.]+|nan|inf)"', drawing):
            assert -60 < float(number_text) < 1200


def test_gaps_are_named(sources, tmp_path):
    bare = [replace(d, bench=None, evaluations={}, check=None) for d in sources.devices]
    html = run(ReportSources(devices=bare), tmp_path / "out").file(PAGE).read_text("utf-8")
    assert "not measured" in html
    assert "<h2>Training" not in html
    empty = run(ReportSources(), tmp_path / "empty").file(PAGE).read_text("utf-8")
    assert "<h2>Environment" in empty


def test_text_is_escaped(tmp_path):
    run(ReportSources(title="<b>&"), tmp_path / "out")
    assert "<h1>&lt;b&gt;&amp;</h1>" in (tmp_path / "out" / PAGE).read_text("utf-8")


def pins(out):
    """Return the letters of the devices that have a place on the Pareto plot."""
    html = (out / PAGE).read_text("utf-8")
    return re.findall(r'<text class="pin"[^>]*>([A-Z]+)</text>', html)


def test_a_net_that_extraction_added_is_drawn_at_its_own_wer(sources, tmp_path):
    front = load_artifact(sources.front, "front")
    trials = Front.read_json(front.file(TRIALS_FILE))
    added = trials.points[0].spec.model_copy(update={"joiner_dim": 100})
    assert all(point.spec.axes() != added.axes() for point in trials.points)

    def page(name, parents, **body):
        with write_artifact(tmp_path / name, kind="bundle", parents=parents) as draft:
            added.write_json(draft.path / "spec.json")
            draft.body = body
        devices = [replace(sources.devices[0], bundle=tmp_path / name)]
        run(replace(sources, devices=devices), tmp_path / f"{name}.page")
        return tmp_path / f"{name}.page"

    own = page("own", {"front": front}, search_wer=3.07)
    assert pins(own) == ["A"]
    assert ": 3.07 % at" in (own / PAGE).read_text("utf-8")
    assert pins(page("unknown", {"front": front})) == []
    other = load_artifact(sources.supernet)  # another search's utterances are other utterances
    assert pins(page("other", {"front": other}, search_wer=3.07)) == []


def test_lineage(sources, tmp_path):
    artifact = run(sources, tmp_path / "out")
    front = load_artifact(sources.front)
    assert artifact.manifest.parents["front"] == front.digest


def test_wrong_artifacts(sources, tmp_path):
    with pytest.raises(ArtifactError, match="is a front artifact, a supernet is needed"):
        run(ReportSources(supernet=sources.front), tmp_path / "out")
    with write_artifact(tmp_path / "supernet", kind="supernet") as draft:
        (draft.path / "log.jsonl").write_text('{"step": 1, "dev": {"a": 3}}\n', "utf-8")
    with pytest.raises(ArtifactError, match="damaged training log"):
        run(ReportSources(supernet=tmp_path / "supernet"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["met", "met"], "met"),
        (["met", "not_judged"], "partly"),
        (["met", "failed", "not_judged"], "failed"),
        (["not_judged"], "not_judged"),
        ([], "not_judged"),
    ],
)
def test_a_line_that_is_not_judged_is_not_met(statuses, expected):
    verdicts = tuple(Verdict(name="a", status=s, limit=1.0, value=None, unit="") for s in statuses)
    device = Device(
        name="",
        title="",
        runtime="",
        spec=None,
        wer={},
        figures={},
        verdicts=verdicts,
        dev_wer=None,
    )
    assert device.verdict == expected


def test_axes():
    assert [nice_step(v) for v in (0.7, 1.0, 2.1, 26.0)] == [1.0, 1.0, 2.5, 50.0]
    x = x_axis("", [2e6, 9e7], log=True)
    assert x.ticks() == [2e6, 5e6, 1e7, 2e7, 5e7, 1e8]
    assert x.begin < x.at(2e6) < x.at(9e7) < x.end
    y = y_axis("", [3.0, 3.0])
    assert y.low == 0.0
    assert y.at(0.0) > y.at(3.0)
    flat = x_axis("", [5.0], log=True)
    assert flat.low < 5.0 < flat.high
    assert len(flat.ticks()) >= 3
    zero = y_axis("", [0.0, 0.0])
    assert zero.low < zero.high


def test_numbers_and_thinning():
    assert [number(v) for v in (0.01234, 12.34, 9876.5, 12345, 2.5e7)] == [
        "0.0123",
        "12.3",
        "9876",
        "12.3\u00a0k",
        "25\u00a0M",
    ]
    assert quantity(1.26e6, "B") == "1.26\u00a0MB"
    assert (quantity(3.0, "ms"), quantity(0.1, "")) == ("3\u00a0ms", "0.1")
    points = [(float(i), 2.0 * i) for i in range(1000)]
    thinned = thin(points, 100)
    assert len(thinned) == 100
    assert thinned[0] == (4.5, 9.0)
    assert thin([], 10) == []
