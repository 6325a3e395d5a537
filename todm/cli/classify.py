"""``todm classify``: prepare, train, eval and export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from todm.cli.options import Config, Json, MaybeBundle, MaybeDevice, MaybeForm, MaybeOut, Out, Sets

if TYPE_CHECKING:
    from todm.core.classify_config import ClassifyConfig, SequencesConfig

app = typer.Typer(
    help="Classify whole sequences, or estimate figures of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[Path, typer.Argument(help="A classifier artifact.", show_default=False)]
Sequences = Annotated[Path, typer.Option("--corpus", help="Prepared sequences.")]
MaybeSequences = Annotated[
    Path | None,
    typer.Option("--corpus", help="Prepared sequences; by default those it was trained on."),
]
Recipe = Annotated[
    str | None,
    typer.Option("--recipe", help="A ready-made configuration; a wrong name lists all of them."),
]


@app.command("prepare")
def prepare(
    out: Out,
    recipe: Recipe = None,
    config: Config = None,
    corpus_dir: Annotated[
        Path | None,
        typer.Option("--corpus-dir", help="Folder that holds corpora by name [TODM_CORPORA]."),
    ] = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Turn recordings, images or a table into labelled sequences.

    \b
    todm classify prepare --recipe fsdd_raw --corpus-dir ~/corpora --out runs/fsdd_raw
    todm classify prepare --recipe pmnist --set seed=1 --out runs/pmnist
    todm classify prepare --recipe bidmc --set source.path=bidmc.npz --out runs/bidmc
    """
    from todm.cli.output import note, say_artifact
    from todm.core.overrides import apply_overrides

    chosen = apply_overrides(_sequences(recipe, config), sets or [])

    from todm.prepare.sequences import run

    artifact = run(chosen, out, corpora_dir=corpus_dir, report=note)
    counts, body = artifact.body["num_sequences"], artifact.body
    assert isinstance(counts, dict)
    shown = ", ".join(f"{split} {count}" for split, count in counts.items())
    figure = f"{shown} sequences of {body['num_frames']} x {body['input_dim']}"
    say_artifact(artifact, figure, as_json=as_json)


@app.command("train")
def train(
    corpus: Sequences,
    out: Out,
    recipe: Recipe = None,
    config: Config = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Train a classifier, or a regressor where the labels are figures.

    The weights of the last step are kept. A killed run goes on where it was when the same command
    is given again.

    \b
    todm classify train --recipe fsdd_raw --corpus runs/fsdd_raw --out runs/digits
    todm classify train --recipe fsdd_raw --set map.learn=fixed --corpus runs/fsdd_raw --out runs/f
    """
    from todm.cli.output import say_artifact
    from todm.core.overrides import apply_overrides

    chosen = apply_overrides(_training(recipe, config), sets or [])

    from todm.train.classify_run import run

    artifact = run(chosen, corpus, out)
    dev = artifact.body["dev"]
    assert isinstance(dev, dict)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in dev.items())
    figure = f"dev {shown}; {artifact.body['params']} parameters"
    say_artifact(artifact, figure, as_json=as_json)


@app.command("eval")
def evaluate(
    model: Model,
    corpus: MaybeSequences = None,
    split: Annotated[
        Literal["train", "dev", "test"], typer.Option("--split", help="Part of the sequences.")
    ] = "test",
    rate: Annotated[
        int, typer.Option("--rate", min=1, help="Keep every so many-th frame, filtered before.")
    ] = 1,
    rule: Annotated[
        bool,
        typer.Option("--rule/--no-rule", help="Whether the model lengthens its steps for --rate."),
    ] = True,
    sets: Sets = None,
    out: MaybeOut = None,
    as_json: Json = False,
) -> None:
    """Measure accuracy, or the root mean square error, with a bootstrap interval.

    OUT holds index.html (figures by class, what is taken for what, how it learned),
    predictions.csv and confusions.csv.

    \b
    todm classify eval runs/digits
    todm classify eval runs/digits --rate 2 --no-rule
    todm classify eval runs/digits --rate 2 --set decimate=plain --out runs/half
    """
    from todm.cli.output import say_report
    from todm.core.classify_config import ClassifyEvalConfig
    from todm.core.overrides import apply_overrides

    given = {"split": split, "rate": rate, "rule": rule}
    chosen = apply_overrides(
        ClassifyEvalConfig.parse(given, where="todm classify eval"), sets or []
    )

    from todm.flows.classify import evaluate_to

    report = evaluate_to(model, corpus or _corpus_of(model), chosen, out)
    shown = ", ".join(
        f"{m.name} {m.value:.4g} {m.unit} ({m.low:.4g} to {m.high:.4g}), n {m.n}"
        for m in report.measurements
        if not m.name.startswith("recall.")
    )
    say_report(report, f"report  {model}  {shown}; {report.measurements[0].note}", as_json=as_json)


@app.command("predict")
def predict(
    model: Annotated[Path, typer.Argument(help="A classifier, or its bundle.", show_default=False)],
    files: Annotated[
        list[Path],
        typer.Argument(help="Recordings, or .npz files with x.", show_default=False),
    ],
    runtime: Annotated[
        Literal["ort", "executorch"] | None,
        typer.Option("--runtime", help="Of a bundle; by default the form that is there."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Classify recordings, or the rows of x (rows, frames, inputs) of .npz files.

    Any sample rate is resampled; recordings are cut or padded about their middle as in training.
    One line a sequence with the three most probable classes, or one object with --json.

    \b
    todm classify predict exports/digits seven.wav
    todm classify predict runs/heart windows.npz --json
    """
    from todm.cli.output import say
    from todm.evaluate.predict import predict as answers

    found = []
    for answer in answers(model, files, runtime):
        found.append(answer.to_json())
        if not as_json:
            row = "" if answer.row is None else f"[{answer.row}]"
            several = len(files) > 1 or answer.row is not None
            typer.echo((f"{answer.path}{row}  " if several else "") + answer.line())
    if as_json:
        say("", {"answers": found}, as_json=True)


@app.command("export")
def export(
    model: Model,
    out: MaybeBundle = None,
    target: MaybeForm = None,
    device: MaybeDevice = None,
    chunk: Annotated[
        int | None, typer.Option("--chunk", help="Frames of a step; must divide the length.")
    ] = None,
    rate: Annotated[
        int,
        typer.Option("--rate", min=1, help="For inputs that keep every so many-th frame."),
    ] = 1,
    corpus: MaybeSequences = None,
    as_json: Json = False,
) -> None:
    """Export a classifier to ONNX or ExecuTorch, as a step over a chunk, in float32.

    Every form must say what torch says of whole dev sequences (parity); otherwise no bundle is
    left and the exit code is 1.

    \b
    todm classify export runs/digits --target both --out exports/digits
    todm classify export runs/digits --rate 2 --out exports/digits_2khz
    """
    from todm.cli.output import say_artifact
    from todm.core.profile import load_profile
    from todm.core.target import float_targets

    profile = None if device is None else load_profile(device)
    targets = float_targets(profile, target)

    from todm.export.classify import run

    place = out or Path("exports") / model.resolve().name
    given = corpus or _corpus_of(model)
    artifact = run(
        model, targets, place, corpus=given, profile=profile, chunk_frames=chunk, rate=rate
    )
    sizes = artifact.body["bundle_bytes"]
    assert isinstance(sizes, dict)
    shown = ", ".join(f"{form} {size} B" for form, size in sizes.items())
    figure = f"{shown}; steps of {artifact.body['chunk_frames']} frames"
    say_artifact(artifact, figure, as_json=as_json)


def _corpus_of(model: Path) -> Path:
    """Return the sequences in a classifier's lineage."""
    from todm.core.artifact import load_artifact

    return Path(str(load_artifact(model, "classifier").body["sequences_path"]))


def _sequences(recipe: str | None, config: Path | None) -> "SequencesConfig":
    from todm.cli.config_files import recipe_or_config
    from todm.core.classify_config import SequencesConfig
    from todm.recipes.classify import SEQUENCES, sequences_recipe

    return recipe_or_config(sequences_recipe, SEQUENCES, recipe, SequencesConfig, config)


def _training(recipe: str | None, config: Path | None) -> "ClassifyConfig":
    from todm.cli.config_files import recipe_or_config
    from todm.core.classify_config import ClassifyConfig
    from todm.recipes.classify import CLASSIFY_RECIPES, classify_recipe

    return recipe_or_config(classify_recipe, CLASSIFY_RECIPES, recipe, ClassifyConfig, config)
