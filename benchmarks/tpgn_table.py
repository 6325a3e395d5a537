"""The page of ``tpgn.json``, and the verdicts against the published means."""

from collections.abc import Iterator, Sequence

from pages import everything, made_with, page, table

from todm.core.report import Measurement, Report, Verdict
from todm.recipes.forecast import PAPER_HORIZONS

PUBLISHED = {
    168: (0.1061, 0.2533),
    336: (0.1110, 0.2625),
    720: (0.1346, 0.2908),
    1440: (0.1343, 0.2941),
}
"""Mean MSE and MAE of TPGN over five runs (table 1)."""
LOWEST, HIGHEST, HIGHEST_1440 = 0.90, 1.05, 1.08
LIBRARY_WINDOWS = 50
BRANCH_HORIZONS = (168, 720)
FIGURES = ("mse", "mae")


def verdicts_of(report: Sequence[Measurement]) -> Iterator[Verdict]:
    """Yield for each published mean whether ours lies in its band."""
    values = {m.name: m.value for m in report}
    for horizon, published in PUBLISHED.items():
        highest = HIGHEST_1440 if horizon == 1440 else HIGHEST
        for figure, mean in zip(FIGURES, published, strict=True):
            value = values.get(f"ETTh1.{horizon}.tpgn.{figure}")
            if value is not None:
                ratio = value / mean
                yield Verdict(
                    name=f"ETTh1.{horizon}.tpgn.{figure}.over_published",
                    status="met" if LOWEST <= ratio <= highest else "failed",
                    limit=highest, value=ratio, unit="",
                    note=f"published {mean:.4f}; met from {LOWEST:.2f} to {highest:.2f}",
                )  # fmt: skip


def render(report: Report) -> str:
    """Return the tables as Markdown."""
    values = {m.name: m for m in report.measurements}

    def cell(name: str) -> str:
        m = values.get(name)
        if m is None:
            return "-"
        span = f" ({m.low:.4f} to {m.high:.4f})" if m.low is not None and m.n > 1 else ""
        return f"{m.value:.4f}{span}"

    horizons = [h for h in PAPER_HORIZONS if f"ETTh1.{h}.tpgn.mse" in values]
    names = ("tpgn", "dlinear", "dlinear_norm", "gru", "seasonal_naive")
    main = [
        (str(h), f.upper(), f"{PUBLISHED[h][i]:.4f}", *(cell(f"ETTh1.{h}.{n}.{f}") for n in names))
        for h in horizons
        for i, f in enumerate(FIGURES)
    ]
    few_names = ("tpgn", "dlinear", "gru", "seasonal_naive", "auto_ets")
    few = [
        (str(h), f.upper(), *(cell(f"ETTh1.{h}.{n}.{f}50") for n in few_names))
        for h in horizons
        for f in FIGURES
    ]
    branches = [
        (str(h), f.upper(), *(cell(f"branches.{h}.{b}.{f}") for b in ("both", "long", "short")))
        for h in BRANCH_HORIZONS
        for f in FIGURES
        if f"branches.{h}.long.{f}" in values
    ]
    judged = [
        (v.name, "-" if v.value is None else f"{v.value:.3f}", v.status, v.note)
        for v in report.verdicts
    ]
    parts = [
        "# TPGN on ETTh1",
        made_with(report.environment),
        "Mean over seeds (least to largest); all test windows of whole batches.",
        table(("horizon", "error", "published TPGN", *names), main),
        f"On {LIBRARY_WINDOWS} evenly spaced test windows, where the library was fitted:",
        table(("horizon", "error", *few_names), few),
        "Branches of TPGN:",
        table(("horizon", "error", "both", "long", "short"), branches),
        table(("verdict", "ours / published", "status", "note"), judged),
        everything(report.measurements),
    ]
    return page(*parts)
