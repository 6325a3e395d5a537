"""Figures are files: what README and docs quote stands in benchmarks/results, and that in its JSON.

A quote lies between ``<!-- figures:NAME -->`` and ``<!-- /figures -->``. Each of its lines is a
line of ``benchmarks/results/NAME.md``, character by character and in that order; lines may be left
out, a number cannot be changed.
"""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
OPEN, CLOSE = re.compile(r"^<!-- figures:([\w-]+) -->$"), "<!-- /figures -->"
MARK = re.compile(r"<!--\s*/?\s*figures")
FIGURES_HEADER = "| figure | value |"


def quotes(text):
    """Return the quotes of a page: name of the results, and the lines that are not blank."""
    found, lines = [], None
    for number, line in enumerate(text.splitlines(), start=1):
        opened = OPEN.match(line.strip())
        if opened and lines is None:
            lines = []
            found.append((opened[1], lines))
        elif line.strip() == CLOSE and lines is not None:
            lines = None
        elif MARK.search(line):
            raise AssertionError(f"line {number}: {line.strip()!r} stands where it should not")
        elif lines is not None and line.strip():
            lines.append(line.rstrip())
    assert lines is None, f"the quote of {found[-1][0]} is not closed by {CLOSE}"
    return found


def wrong_quotes(page, results):
    """Return a line for each quoted line that the results do not hold."""
    wrong = []
    for name, lines in quotes(page.read_text("utf-8")):
        source = results / f"{name}.md"
        if not source.is_file():
            wrong.append(f"{page.name}: quotes {name}, but there is no {source.name}")
            continue
        if not lines:
            wrong.append(f"{page.name}: the quote of {name} is empty")
        left = iter(line.rstrip() for line in source.read_text("utf-8").splitlines())
        wrong += [
            f"{page.name}: {source.name} does not hold (in this order): {line}"
            for line in lines
            if line not in left
        ]
    return wrong


def figures(markdown):
    """Return the rows of the tables of figures: name and printed value."""
    rows, inside = [], False
    for line in markdown.splitlines():
        if line.startswith(FIGURES_HEADER):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---") and not line.startswith("| ---"):
            name, value = (cell.strip() for cell in line.split("|")[1:3])
            rows.append((name, value))
    return rows


def wrong_figures(report):
    """Return a line for each row of the Markdown that the JSON beside it does not bear out."""
    page = report.with_suffix(".md")
    if not page.is_file():
        return [f"{report.name}: has no {page.name} beside it"]
    measured = {
        m["name"]: m["value"] for m in json.loads(report.read_text("utf-8"))["measurements"]
    }
    rows = figures(page.read_text("utf-8"))
    wrong = [f"{page.name}: {n} is not in the JSON" for n, _ in rows if n not in measured]
    missing = sorted(set(measured) - {name for name, _ in rows})
    wrong += [f"{page.name}: lacks {name}" for name in missing]
    return wrong + [
        f"{page.name}: {name} is {value}, the JSON says {measured[name]}"
        for name, value in rows
        if name in measured and not agrees(value, measured[name])
    ]


def agrees(printed, value):
    """Tell whether a printed number is the value, rounded to the places that it shows."""
    number = Decimal(printed)
    half = Decimal(1).scaleb(number.as_tuple().exponent) / 2
    return abs(number - Decimal(value)) <= half * Decimal("1.000001")


PAGES = [path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))) if path.exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_quote_what_was_measured(page):
    assert wrong_quotes(page, RESULTS) == []


@pytest.mark.parametrize("report", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_tables_show_what_their_json_holds(report):
    assert wrong_figures(report) == []


TABLE = "| figure | value | unit |\n| --- | --- | --- |\n| a.b | 1.50 | % |\n| a.c | 20 | B |\n"


@pytest.fixture
def results(tmp_path):
    (tmp_path / "trial.md").write_text(f"# Trial\n\n{TABLE}", "utf-8")
    measurements = [{"name": "a.b", "value": 1.503}, {"name": "a.c", "value": 20.0}]
    (tmp_path / "trial.json").write_text(json.dumps({"measurements": measurements}), "utf-8")
    return tmp_path


def page_with(folder, quote):
    page = folder / "README.md"
    page.write_text(f"Text.\n\n<!-- figures:trial -->\n{quote}\n<!-- /figures -->\n99 more\n")
    return page


@pytest.mark.parametrize("left_out", ["", "| a.b | 1.50 | % |\n"])
def test_a_verbatim_quote_passes(results, left_out):
    assert wrong_quotes(page_with(results, TABLE.replace(left_out, "")), results) == []


@pytest.mark.parametrize(
    "quote",
    [
        TABLE.replace("1.50", "1.40"),
        TABLE.replace("20", "2"),
        TABLE + "and a WER of 1.2 %",
        "| a.c | 20 | B |\n| a.b | 1.50 | % |",
        "",
    ],
    ids=["changed", "cut", "prose", "order", "empty"],
)
def test_a_changed_quote_fails(results, quote):
    assert wrong_quotes(page_with(results, quote), results)


def test_a_quote_of_nothing_fails(results):
    (results / "trial.md").unlink()
    assert "no trial.md" in wrong_quotes(page_with(results, TABLE), results)[0]


@pytest.mark.parametrize(
    "text",
    [
        "<!-- figures:trial -->\n1",
        "<!-- /figures -->",
        "<!-- figures: trial -->\n<!-- /figures -->",
        "<!-- figures:trial -->\n<!-- figures:trial -->\n<!-- /figures -->",
    ],
    ids=["open", "close", "misspelt", "nested"],
)
def test_a_broken_marker_fails(text):
    with pytest.raises(AssertionError, match=r"figures|quote"):
        quotes(text)


def test_a_table_true_to_its_json_passes(results):
    assert wrong_figures(results / "trial.json") == []


@pytest.mark.parametrize(
    ("old", "new"), [("1.50", "1.51"), ("| a.c | 20 | B |\n", ""), ("a.b", "a.x")]
)
def test_a_table_untrue_to_its_json_fails(results, old, new):
    page = results / "trial.md"
    page.write_text(page.read_text("utf-8").replace(old, new), "utf-8")
    assert wrong_figures(results / "trial.json")


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_results_say_what_made_them(path):
    env = json.loads(path.read_text("utf-8"))["environment"]
    assert re.search(r"\b\w+\.py\b", env["command"])
    assert not re.search(r"(^|[\s=])/", env["command"])  # no folder of the machine that made it
    assert re.fullmatch(r"[0-9a-f]{7,40}", env["commit"])  # known, and no changes beside it
    assert env["date"]
    assert env["cpu"]
    assert env["python"]
    assert env["versions"]
