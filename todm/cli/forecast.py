"""``todm forecast``: train, predict, eval and export."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from todm.cli.options import Config, Json, MaybeBundle, MaybeDevice, MaybeForm, MaybeOut, Out, Sets

if TYPE_CHECKING:
    from todm.core.forecast_config import ForecastConfig

app = typer.Typer(
    help="Forecast a series from a table with a time column.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[Path, typer.Argument(help="A forecaster artifact.", show_default=False)]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="A table; by default the one it was trained on."),
]
Missing = Annotated[
    Literal["refuse", "interpolate", "ffill"] | None,
    typer.Option("--missing", help="What becomes of missing values and gaps in time."),
]


@app.command("train")
def train(
    data: Annotated[Path, typer.Option("--data", help="A table of text with a time column.")],
    out: Out,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A ready-made configuration, such as hourly.")
    ] = None,
    config: Config = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", min=1, help="Steps to forecast.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="Column to forecast; may be repeated; '*' is all."),
    ] = None,
    missing: Missing = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Train a forecaster on a table.

    Gaps, duplicates and what was done about them are told. A killed run goes on where it was when
    the same command is given again.

    \b
    todm forecast train --recipe hourly --data load.csv --target load --out runs/load
    todm forecast train --recipe etth1 --horizon 720 --data ETTh1.csv --out runs/etth1
    todm forecast train --recipe weekly --missing interpolate --data co2.csv --out runs/co2
    todm forecast train --recipe sunspots --data sunspots.csv --set net.branches=long --out runs/a
    """
    from todm.cli.output import note, say_artifact
    from todm.core.overrides import apply_overrides

    base = _base(recipe, config, horizon)
    update: dict[str, object] = {}
    if target:
        update["targets"] = tuple(target)
    if missing is not None:
        update["missing"] = missing
    series = base.series.model_copy(update=update)
    chosen = apply_overrides(base.model_copy(update={"series": series}), sets or [])

    from todm.train.forecast_run import run

    artifact = run(chosen, data, out)
    notes = artifact.body["notes"]
    assert isinstance(notes, list)
    for line in notes:
        note(f"todm: {data}: {line}")
    figure = f"{artifact.body['params']} parameters, validation MSE "
    say_artifact(artifact, f"{figure}{artifact.body['validation_mse']:.4f}", as_json=as_json)


def _base(recipe: str | None, config: Path | None, horizon: int | None) -> "ForecastConfig":
    from todm.cli.config_files import recipe_or_config
    from todm.core.forecast_config import ForecastConfig
    from todm.recipes.forecast import FORECAST_RECIPES, forecast_recipe

    find = functools.partial(forecast_recipe, horizon=horizon)
    found = recipe_or_config(find, FORECAST_RECIPES, recipe, ForecastConfig, config)
    return found if horizon is None else found.model_copy(update={"horizon_steps": horizon})


@app.command("predict")
def predict(
    model: Model,
    out: Out,
    data: Data = None,
    rolling: Annotated[
        bool,
        typer.Option("--rolling", help="Roll over the test part, against what came."),
    ] = False,
    missing: Missing = None,
    as_json: Json = False,
) -> None:
    """Forecast what follows the last row of a table.

    OUT holds predictions.csv, with conformal intervals, and index.html with the drawings.

    \b
    todm forecast predict runs/load --data newest.csv --out runs/next
    todm forecast predict runs/load --data gaps.csv --missing ffill --out runs/next
    todm forecast predict runs/load --rolling --out runs/back
    """
    from todm.cli.output import say_artifact
    from todm.flows.forecast import predict_to

    artifact = predict_to(model, data, out, back=rolling, missing=missing)
    share = artifact.body["covered"]
    told = "" if share is None else f", intervals hold {100 * float(str(share)):.1f} % of the truth"
    say_artifact(artifact, f"{artifact.body['forecasts']} forecast(s){told}", as_json=as_json)


@app.command("eval")
def evaluate(
    model: Model,
    data: Data = None,
    sets: Sets = None,
    out: MaybeOut = None,
    missing: Missing = None,
    as_json: Json = False,
) -> None:
    """Measure errors and coverage on the test part, beside baselines.

    Where statsforecast is installed, its models are fitted to each of 50 evenly spaced windows;
    --set library_windows=N takes as many, 0 leaves them out.

    \b
    todm forecast eval runs/load
    todm forecast eval runs/load --set library_windows=20 --out runs/load_eval
    """
    from todm.cli.output import say_report
    from todm.core.overrides import apply_overrides
    from todm.evaluate.forecast import ForecastEvalConfig
    from todm.flows.forecast import evaluate_to

    config = apply_overrides(ForecastEvalConfig(), sets or [])
    report = evaluate_to(model, data, config, out, missing)
    v = {m.name: m for m in report.measurements}
    rows = [
        f"report  {model}  {v['forecaster.mse'].n} test windows, coverage "
        f"{100 * v['coverage'].value:.1f} %",
        f"  {'model':<28}{'MSE':>10}{'MAE':>10}{'windows':>9}",
    ]
    for name in [key.removesuffix(".mse") for key in v if key.endswith(".mse")]:
        mse, mae = v[f"{name}.mse"], v[f"{name}.mae"]
        rows.append(f"  {name:<28}{mse.value:>10.4f}{mae.value:>10.4f}{mse.n:>9}")
    if config.library_windows is None and not any(name.startswith("few.") for name in v):
        rows.append("  no library's baselines: pip install 'todm[baselines]' brings them")
    say_report(report, "\n".join(rows), as_json=as_json)


@app.command("export")
def export(
    model: Model,
    out: MaybeBundle = None,
    target: MaybeForm = None,
    device: MaybeDevice = None,
    as_json: Json = False,
) -> None:
    """Export a forecaster to ONNX or ExecuTorch.

    Every form must compute what torch computes on held-out windows (parity); otherwise no bundle
    is left and the exit code is 1. todm bench measures the bundle.

    \b
    todm forecast export runs/load --target both --out exports/load
    todm forecast export runs/load --device raspberry_pi_4
    todm bench exports/load --device raspberry_pi_4
    """
    from todm.cli.output import say_artifact
    from todm.core.profile import load_profile
    from todm.core.target import float_targets

    profile = None if device is None else load_profile(device)
    targets = float_targets(profile, target)

    from todm.export.forecast import run

    place = out or Path("exports") / model.resolve().name
    artifact = run(model, targets, place, profile=profile)
    sizes = artifact.body["bundle_bytes"]
    assert isinstance(sizes, dict)
    shown = ", ".join(f"{form} {size} B" for form, size in sizes.items())
    say_artifact(artifact, shown, as_json=as_json)
