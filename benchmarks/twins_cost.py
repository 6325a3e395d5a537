"""What the supernet's training took beside its twins', and the bars over all cells."""

from collections.abc import Mapping, Sequence
from statistics import mean

from twins_figures import Cell, status
from twins_plan import SUPERNET, TwinSet
from twins_runs import Shelf

from todm.core.report import Measurement, Verdict

MAX_RATIO = 1.3
MIN_CELLS = 8
TOTAL = "all"


def net_costs(shelf: Shelf, twins: TwinSet, key: str) -> dict[str, float]:
    """Return the mean of a figure of each net's finished trainings (``train_macs``, ``cpu_s``)."""
    found = {}
    for net in twins.nets:
        scores = [shelf.scores(run) for run in shelf.seeds(twins, net)]
        values = [one.train[key] for one in scores if one is not None and key in one.train]
        if values:
            found[net] = mean(float(value) for value in values)
    return found


def cost_measurements(shelf: Shelf, twins: TwinSet) -> tuple[list[Measurement], list[str]]:
    """Return the ratios of a set, and what is missing for them."""
    made, largest = [], next(iter(twins.plan.sizes))
    macs, cpu_s = (net_costs(shelf, twins, key) for key in ("train_macs", "cpu_s"))
    if SUPERNET in macs and largest in macs:
        made.append(_ratio(f"{twins.name}.cost.ratio_to_largest", macs, (largest,), "MACs"))
    if set(twins.nets) <= set(macs):
        sizes = tuple(twins.plan.sizes)
        made.append(_ratio(f"{twins.name}.cost.ratio_to_all_singles", macs, sizes, "MACs"))
    if SUPERNET in cpu_s and largest in cpu_s:
        name = f"{twins.name}.cost.cpu_ratio_to_largest"
        made.append(_ratio(name, cpu_s, (largest,), "CPU seconds"))
    made += [
        Measurement(
            name=f"{twins.name}.macs_per_audio_s.{size}",
            value=twins.macs(size),
            unit="MAC/s",
            note=f"{twins.macs(size) / twins.macs(largest):.3f} of the largest net's",
        )
        for size in twins.plan.sizes
    ]
    missing = [f"{twins.name}: cost" for _ in (1,) if not set(twins.nets) <= set(macs)]
    return made, missing


def rate_measurements(shelf: Shelf, twins: TwinSet) -> list[Measurement]:
    """Return the learning rate of each net, with the dev WERs that it was chosen by."""
    made = []
    for net in twins.nets:
        chosen = shelf.chosen(twins, net)
        if chosen is not None:
            scores = [(run.config.optim.lr, shelf.scores(run)) for run in twins.trials(net)]
            wers = [f"{lr:g}: {s.choice()[0]:.2f}" for lr, s in scores if s is not None]
            made.append(
                Measurement(
                    name=f"{twins.name}.lr.{net}",
                    value=chosen.config.optim.lr,
                    unit="",
                    n=len(scores),
                    note=f"lowest dev WER % (mean over the sizes), ties by NLL: {', '.join(wers)}; "
                    f"seed {twins.seeds[0]}",
                )
            )
    return made


def _ratio(name: str, costs: Mapping[str, float], below: Sequence[str], unit: str) -> Measurement:
    total = sum(costs[net] for net in below)
    return Measurement(
        name=name,
        value=costs[SUPERNET] / total,
        unit="",
        note=f"{unit} of training the supernet over those of {', '.join(below)} alone "
        f"({costs[SUPERNET]:.4g} over {total:.4g}); forward and backward, one training each, "
        "the choice of rates left out on both sides",
    )


def totals(
    cells: Sequence[Cell], made: Sequence[Measurement], *, complete: bool
) -> tuple[list[Measurement], list[Verdict]]:
    """Return the mean relative difference over the cells and the verdicts on it and on cost."""
    diffs = [m.value for m in made if ".wer.rel_diff." in m.name]
    found = [
        Measurement(
            name=f"{TOTAL}.wer.rel_diff",
            value=mean(diffs),
            unit="",
            low=min(diffs),
            high=max(diffs),
            n=len(diffs),
            note="mean over the cells, each with the same weight; low and high are the least and "
            "the greatest cell",
        )
        for _ in diffs[:1]
    ]
    judged = complete and len(diffs) == len(cells) >= MIN_CELLS
    verdicts = [
        Verdict(
            name=one.name,
            status=status(one.value <= 0 if judged else None),
            limit=0.0,
            value=one.value,
            unit="",
            note=f"{len(diffs)} cells; judged when nothing is missing and there are {MIN_CELLS}",
        )
        for one in found
    ]
    verdicts += [
        Verdict(
            name=m.name,
            status=status(m.value <= MAX_RATIO),
            limit=MAX_RATIO,
            value=m.value,
            unit="",
            note="training MACs",
        )
        for m in made
        if m.name.endswith(".cost.ratio_to_largest")
    ]
    return found, verdicts
