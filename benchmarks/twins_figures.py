"""The figures of ``supernet_vs_single.json`` from finished runs, and what is missing of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from twins_job import TRAINED, Scores
from twins_plan import SUPERNET, TwinSet
from twins_runs import Shelf
from twins_score import Heard, aligned_ends_s, delays_ms, joined_ends_s

from todm.core.report import Measurement, Verdict
from todm.metrics.bootstrap import ratio_interval
from todm.metrics.delay import DelaySummary, summarise_delays
from todm.metrics.paired import PairedComparison, compare_paired, holm
from todm.metrics.wer import word_errors
from todm.models.store import load_supernet

MAX_LATER_MS = 40.0
"""A cell holds only if the supernet's median delay is at most so far above its twin's."""
LEVEL = 0.05


@dataclass(frozen=True)
class Side:
    """One net's trainings of a cell, on the same test utterances in the same order."""

    heard: tuple[Sequence[Heard], ...]
    """By seed."""
    delays: DelaySummary | None
    """Over all seeds; None where no word was right or no end is known."""

    @property
    def errors(self) -> list[list[float]]:
        """Word errors by seed and utterance."""
        counted = [word_errors([r.ref for r in rows], [r.hyp for r in rows]) for rows in self.heard]
        return [[float(u.errors) for u in found.per_utterance] for found in counted]

    @property
    def words(self) -> list[float]:
        """Reference words by utterance."""
        return [float(len(row.ref.split())) for row in self.heard[0]]

    @property
    def wers(self) -> list[float]:
        """WER in percent by seed."""
        return [100.0 * sum(errors) / sum(self.words) for errors in self.errors]


@dataclass(frozen=True)
class Cell:
    """A size of a set: the supernet's net against the net trained alone."""

    set_name: str
    size: str
    supernet: Side
    single: Side
    ends: str
    """How the ends of the spoken words are known."""

    def compare(self, *, by_speaker: bool = False, draw_seeds: bool = False) -> PairedComparison:
        """Return the paired comparison of the two; positive means that the supernet is worse."""
        speakers = [row.speaker for row in self.single.heard[0]] if by_speaker else None
        return compare_paired(
            self.single.errors,
            self.supernet.errors,
            self.single.words,
            groups=speakers,
            draw_seeds=draw_seeds,
        )

    @property
    def comparable(self) -> bool:
        """Whether the twin makes an error, so that a relative difference is defined."""
        return any(any(row) for row in self.single.errors)


@dataclass(frozen=True)
class Tests:
    """The three comparisons of a cell; their p-values are Holm's over all cells."""

    by_utterance: PairedComparison
    by_speaker: PairedComparison
    with_seeds: PairedComparison


def cells_of(shelf: Shelf, twins: TwinSet) -> tuple[list[Cell], list[str]]:
    """Return the cells that have a training on either side, and what they still lack."""
    found: dict[str, dict[int, Scores]] = {}
    missing = []
    for net in twins.nets:
        if shelf.chosen(twins, net) is None:
            missing.append(f"{twins.name}: the learning rate of {net}")
        found[net] = {}
        for run in shelf.seeds(twins, net):
            scores = shelf.scores(run)
            if scores is None or scores.diverged:
                why = "not trained" if scores is None else f"diverged ({scores.diverged})"
                missing.append(f"{twins.name}: {net} with seed {run.config.seed}, {why}")
            else:
                found[net][run.config.seed] = scores
    if not any(found.values()):
        return [], missing
    ends, ends_s = _ends_s(shelf, twins)
    if not ends_s:
        missing.append(f"{twins.name}: delays, which the largest twin's alignment gives")
    cells = [
        Cell(
            twins.name,
            size,
            _side(found[SUPERNET].values(), size, ends_s),
            _side(found[size].values(), size, ends_s),
            ends,
        )
        for size in twins.plan.sizes
        if found[SUPERNET] and found[size]
    ]
    return cells, missing


def _side(runs: Iterable[Scores], size: str, ends_s: Mapping[str, Sequence[float]]) -> Side:
    heard = tuple(scores.heard[size] for scores in runs)
    delays = [delay for rows in heard for delay in delays_ms(rows, ends_s)]
    return Side(heard, summarise_delays(delays) if delays else None)


def _ends_s(shelf: Shelf, twins: TwinSet) -> tuple[str, Mapping[str, Sequence[float]]]:
    """Return how the ends of the test words are known, and the ends by utterance.

    They are the known joins of strings, or else the forced alignment of the largest twin; none
    while that is not trained.
    """
    joined = joined_ends_s(twins.corpus, "test")
    if joined:
        return "the known join", joined
    source = "the largest twin's forced alignment"
    chosen = shelf.chosen(twins, next(iter(twins.plan.sizes)))
    if chosen is None:
        return source, {}
    net = load_supernet(shelf.place(chosen) / TRAINED)
    return source, aligned_ends_s(net, twins.corpus, "test")


def measurements(
    cells: Sequence[Cell], sets: Sequence[TwinSet]
) -> tuple[list[Measurement], list[Verdict]]:
    """Return the figures of all cells and the verdicts on them."""
    titles = {twins.name: twins.plan.title for twins in sets}
    made: list[Measurement] = []
    verdicts: list[Verdict] = []
    for cell in cells:
        for kind, side in (("supernet", cell.supernet), ("single", cell.single)):
            made.append(_wer(cell, kind, side, titles[cell.set_name]))
            made += _delays(cell, kind, side)
        verdicts.append(_delay_verdict(cell))
    tested = {
        (cell.set_name, cell.size): Tests(
            cell.compare(), cell.compare(by_speaker=True), cell.compare(draw_seeds=True)
        )
        for cell in cells
        if cell.comparable
    }
    more, judged = _compared(tested)
    return [*made, *more], [*verdicts, *judged]


def _wer(cell: Cell, kind: str, side: Side, speech: str) -> Measurement:
    errors = [mean(column) for column in zip(*side.errors, strict=True)]
    found = ratio_interval([100.0 * count for count in errors], side.words)
    spread = f", SD {stdev(side.wers):.2f}" if len(side.wers) > 1 else ""
    return Measurement(
        name=f"{cell.set_name}.wer.{kind}.{cell.size}",
        value=found.value,
        unit="%",
        low=found.low,
        high=found.high,
        n=int(sum(side.words)),
        note=f"mean of {len(side.wers)} seeds ({', '.join(f'{wer:.2f}' for wer in side.wers)}"
        f"{spread}); 95 % bootstrap over {found.units} utterances; {speech}; one symbol a frame",
    )


def _delays(cell: Cell, kind: str, side: Side) -> Iterator[Measurement]:
    if side.delays is None:
        return
    for name, value in (
        ("delay_ms", side.delays.median_ms),
        ("delay_p95_ms", side.delays.p95_ms),
    ):
        yield Measurement(
            name=f"{cell.set_name}.{name}.{kind}.{cell.size}",
            value=value,
            unit="ms",
            n=side.delays.n,
            note="end of the last token's frame after the word's end by "
            f"{cell.ends}; correct words with a known end, of {len(side.heard)} seeds",
        )


def _delay_verdict(cell: Cell) -> Verdict:
    a, b = cell.single.delays, cell.supernet.delays
    later_ms = None if a is None or b is None else b.median_ms - a.median_ms
    return Verdict(
        name=f"{cell.set_name}.delay_ms.later.{cell.size}",
        status=status(None if later_ms is None else later_ms <= MAX_LATER_MS),
        limit=MAX_LATER_MS,
        value=later_ms,
        unit="ms",
        note="the supernet's median delay less its twin's; at most the limit",
    )


def status(met: bool | None) -> Literal["met", "failed", "not_judged"]:
    """Return a verdict's status; None is not judged."""
    return "not_judged" if met is None else "met" if met else "failed"


def _compared(tested: Mapping[tuple[str, str], Tests]) -> tuple[list[Measurement], list[Verdict]]:
    made, verdicts = [], []
    p_values = {
        "p_worse": [tests.by_utterance for tests in tested.values()],
        "p_worse_by_speaker": [tests.by_speaker for tests in tested.values()],
        "p_worse_with_seeds": [tests.with_seeds for tests in tested.values()],
    }
    drawn = ("utterances", "speakers", "utterances and seeds")
    for (set_name, size), tests in tested.items():
        one = tests.by_utterance
        made.append(
            Measurement(
                name=f"{set_name}.wer.rel_diff.{size}",
                value=one.relative,
                unit="",
                low=one.low,
                high=one.high,
                n=one.units,
                note="WER of the supernet's net over its twin's, less 1 (means over seeds); "
                "paired 95 % bootstrap over utterances, of these trainings; with seeds drawn too "
                f"[{tests.with_seeds.low:.3f}, {tests.with_seeds.high:.3f}], over "
                f"{tests.by_speaker.units} speakers "
                f"[{tests.by_speaker.low:.3f}, {tests.by_speaker.high:.3f}]",
            )
        )
    for (name, found), units in zip(p_values.items(), drawn, strict=True):
        adjusted = holm([one.p_worse for one in found])
        for (set_name, size), one, p in zip(tested, found, adjusted, strict=True):
            made.append(
                Measurement(
                    name=f"{set_name}.wer.{name}.{size}",
                    value=p,
                    unit="",
                    n=one.units,
                    note=f"one-sided, {one.p_worse:.4f} before Holm over {len(adjusted)} cells; "
                    f"draws of {units}",
                )
            )
            if name == "p_worse":
                verdicts.append(
                    Verdict(
                        name=f"{set_name}.wer.p_worse.{size}",
                        status=status(p >= LEVEL),
                        limit=LEVEL,
                        value=p,
                        unit="",
                        note="significantly worse below the limit",
                    )
                )
    return made, verdicts
