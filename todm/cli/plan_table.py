"""The plan of a training, for people."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from todm.train.dry_run import DryRun, ShapeTrial


def plan_table(found: "DryRun") -> str:
    """Return the plan as lines of name and value."""
    from tabulate import tabulate

    plan, batches = found.plan, found.plan.batches
    fixed = (found.weights_bytes, found.optimizer_bytes, found.average_bytes)
    rows = [
        ("parameters", f"{si(plan.parameters_smallest)} to {si(plan.parameters_largest)}"),
        ("corpus", plan.corpus),
        ("utterances", f"{batches.utterances} ({batches.audio_h:.1f} h)"),
        (
            "a batch",
            f"{batches.utterances_per_batch:.1f} utterances, {batches.audio_s_per_batch:.0f} s, "
            f"{batches.padding_share:.1%} padding",
        ),
        ("steps", f"{plan.steps}: {batches.epochs:.1f} epochs of {batches.steps_per_epoch}"),
        (
            "MACs",
            f"{si(plan.macs_per_step)} a step, {si(plan.macs)} in all, "
            f"{plan.ratio_to_largest:.2f} times the largest net's alone",
        ),
        *(
            (f"GPU-hours, {gpu}", f"{hours:.3g} at {plan.achieved_share:.1%} of its peak")
            for gpu, hours in plan.gpu_hours.items()
        ),
        ("  an assumed share", "what icefall's Zipformer-M trains at on V100 (its pull 1058)"),
        ("weights, optimizer, average", " + ".join(f"{si(size)}B" for size in fixed)),
        *((f"step on {trial.what}", _step(trial, found.device)) for trial in found.trials),
        (f"memory of each of {found.gpus} GPUs", f"{si(found.bytes_per_gpu)}B"),
    ]
    if found.gpu_hours_measured is not None:
        rows.append(("GPU-hours, measured here", f"{found.gpu_hours_measured:.3g}"))
    table: str = tabulate(rows, tablefmt="plain", disable_numparse=True)
    return table


def _step(trial: "ShapeTrial", device: str) -> str:
    shape, tried = trial.shape, " and ".join(map(str, trial.tried_utterances))
    taken = "" if trial.step_s is None else f" in {trial.step_s:.2f} s"
    return (
        f"{si(trial.step_bytes)}B for {shape.batch} x {shape.frames} frames x "
        f"{shape.target_len} labels, run with {tried} utterances on {device}{taken}"
    )


def si(value: float) -> str:
    """Return a value with three digits and the prefix of its thousands."""
    prefixes = iter(("", "k", "M", "G", "T", "P", "E", "Z"))
    prefix = next(prefixes)
    while value >= 999.5:
        value, prefix = value / 1000, next(prefixes)
    return f"{value:.3g} {prefix}"
