"""How good is the search? NSGA-II and random draws against every net of a small space.

The uniform nets of a trained supernet, whose layers are alike (all five axes), are evaluated once
on dev (``search_table.py``). Searches then look their figures up, with a tenth of the evaluations,
and their fronts are compared with the exhaustive one by hypervolume over dev WER and MACs. The
reference point lies a tenth of the exhaustive front's extent beyond its worst values, so that only
nets near that front count.

Nets of the exhaustive front are also cut out of the supernet as ``todm extract`` does, written,
read, and heard on the test split: their words must be the supernet's own.

    python benchmarks/search_quality.py --supernet runs/supernet --corpus runs/corpus
    python benchmarks/search_quality.py --quick

The corpus must be hard enough that the nets of the front differ: a good supernet hears clean
digits with a handful of different WERs. Evaluations are kept in ``--work``; a run that was cut off
goes on. ``--quick`` has a net that learned nothing, and takes the likelihood in WER's place.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import torch
from arguments import told
from pages import QUICK, RESULTS, everything, made_with, page, write
from search_table import Table, UniformSpace, enumerate_space
from trials_cli import tone_corpus

from todm.core.artifact import is_complete, write_artifact
from todm.core.errors import ConfigError, DataError
from todm.core.front import FrontPoint, non_dominated
from todm.core.overrides import apply_overrides
from todm.core.report import Measurement, Report, environment
from todm.core.rng import derive_seed
from todm.core.search_config import SearchConfig
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.data.manifest import Corpus, open_corpus
from todm.metrics.hypervolume import hypervolume
from todm.models.rnnt import Transducer, greedy_batch
from todm.models.scoring import ScoringSet, corpus_samples, encoded, score, scoring_set
from todm.models.slicing import slice_weights
from todm.models.store import SPEC, Supernet, load_subnet, load_supernet, write_model
from todm.recipes import recipe
from todm.search.objectives import EvaluationLog
from todm.search.sampler import starts
from todm.search.study import Study
from todm.train.run import run as run_train

NAME = "search_quality"
POPULATION, SEEDS, SHARE = 12, 20, 10
"""Of NSGA-II; how many searches; every so many-th net is evaluated."""
EXTRACTED = 8
"""Nets of the exhaustive front that are cut out, evenly along it."""

Points = Sequence[FrontPoint]


def quality_of(table: Table) -> Callable[[Iterable[FrontPoint]], float]:
    """Return the function that gives a set's hypervolume over the exhaustive front's.

    Raises:
        DataError: the exhaustive front is a single net.
    """
    front = non_dominated(table.points)
    wers, macs = [p.wer for p in front], [p.macs_per_audio_s for p in front]
    if min(wers) == max(wers):
        raise DataError("all nets of the front have one WER; evaluate on more or harder speech")
    reference = (_beyond(wers), _beyond(macs))

    def volume(points: Iterable[FrontPoint]) -> float:
        return hypervolume([(p.wer, p.macs_per_audio_s) for p in points], reference)

    whole = volume(front)
    return lambda points: volume(points) / whole


def _beyond(values: Sequence[float]) -> float:
    return max(values) + 0.1 * (max(values) - min(values))


def nsga2(table: Table, trials: int, seed: int, **changes: int) -> Points:
    """Return what ``todm search`` evaluates with that seed."""
    config = SearchConfig(trials=trials, population=POPULATION, seed=seed, **changes)
    study, known = Study(table.space, config), {p.spec: p for p in table.points}
    study.search(table.scores.__getitem__, lambda *_: None)
    return [known[spec] for spec in study.scores()]


def drawn(table: Table, trials: int, seed: int, first: Sequence[SubnetSpec] = ()) -> Points:
    """Return nets drawn at random from the table, after the given ones."""
    known = {p.spec: p for p in table.points}
    given = [known.pop(spec) for spec in first]
    generator = random.Random(derive_seed(seed, "random search"))
    return given + generator.sample(list(known.values()), trials - len(given))


def judged(table: Table, seeds: int) -> list[Measurement]:
    """Return the figures of one table."""
    trials, quality = len(table.points) // SHARE, quality_of(table)
    first = starts(table.space, min(POPULATION, trials))
    searches = {
        "nsga2": lambda seed: nsga2(table, trials, seed),
        "nsga2_alone": lambda seed: nsga2(table, trials, seed, preselect=1),
        "random": lambda seed: drawn(table, trials, seed),
        "random_after_starts": lambda seed: drawn(table, trials, seed, first),
    }
    found = [_size(table)]
    for search, run in searches.items():
        ratios = [quality(run(seed)) for seed in range(seeds)]
        note = f"{trials} evaluations, mean of {seeds} seeds, deviation {stdev(ratios):.4f}"
        found.append(
            Measurement(
                name=f"{search}.hypervolume_ratio", value=fmean(ratios), unit="",
                low=min(ratios), high=max(ratios), n=seeds, note=f"{note}; low, high: worst, best",
            )
        )  # fmt: skip
        print(f"{search}: {found[-1].value:.4f} ({note})", flush=True)
    known = {p.spec: p for p in table.points}
    ratio = quality(known[spec] for spec in first)
    note = f"the {len(first)} nets that NSGA-II begins with"
    found.append(Measurement(name="starts.hypervolume_ratio", value=ratio, unit="", note=note))
    return found


def _size(table: Table) -> Measurement:
    wers = {p.wer for p in table.points}
    front = non_dominated(table.points)
    note = (
        f"dev WER {min(wers):.2f} to {max(wers):.2f} %, {len(wers)} different ones, over "
        f"{table.words} words; {len(front)} nets on the front, {front[0].wer:.2f} % at "
        f"{front[0].macs_per_audio_s / 1e6:.1f} M MAC/s to {front[-1].wer:.2f} % at "
        f"{front[-1].macs_per_audio_s / 1e6:.1f} M"
    )
    return Measurement(name="table.subnets", value=len(table.points), unit="nets", note=note)


def tokens_of(model: Transducer, spec: SubnetSpec, data: ScoringSet) -> list[tuple[list[int], ...]]:
    """Return token ids and frames of every utterance."""
    found = []
    with torch.inference_mode():
        for batch, enc_BTD in zip(data.batches, encoded(model, spec, data), strict=True):
            enc_BTJ = model.joiner.from_encoder(enc_BTD, spec.joiner_dim)
            heard = greedy_batch(model, enc_BTJ, batch.frame_lens_B, spec)
            found += [(tokens.ids, tokens.frames) for tokens in heard]
    return found


def extracted(specs: Sequence[SubnetSpec], supernet: Supernet, corpus: Corpus) -> list[Measurement]:
    """Hear the test split by nets inside the supernet, and by the same nets cut out of it."""
    samples = corpus_samples(corpus, supernet.table, "test", None)
    inside = scoring_set(supernet.model, samples, supernet.table)
    deltas, differing, heard = [], 0, 0
    for spec in specs:
        twin = _cut_out(spec, supernet)
        alone = scoring_set(twin, samples, supernet.table)
        mine, theirs = tokens_of(twin, spec, alone), tokens_of(supernet.model, spec, inside)
        differing += sum(a != b for a, b in zip(mine, theirs, strict=True))
        heard += sum(len(ids) for ids, _ in theirs)
        delta = score(twin, spec, alone).wer - score(supernet.model, spec, inside).wer
        deltas.append(delta)
    words = sum(len(sample.text.split()) for sample in samples)
    note = f"largest of {len(specs)} nets along the front, {len(samples)} test utterances"
    tokens = f"{heard} tokens compared with their frames"
    found = [
        ("extracted.wer_minus_supernet", max(deltas, key=abs), "points", words, note),
        ("extracted.differing_utterances", differing, "utterances", len(samples), tokens),
    ]
    return [Measurement(name=a, value=b, unit=c, n=d, note=e) for a, b, c, d, e in found]


def _cut_out(spec: SubnetSpec, supernet: Supernet) -> Transducer:
    """Write a net as an artifact of its own, and read it."""
    with tempfile.TemporaryDirectory(prefix="todm-cut-") as scratch:
        place = Path(scratch) / "subnet"
        with write_artifact(place, kind="subnet") as draft:
            write_model(draft, slice_weights(supernet.model, spec), supernet.table)
            spec.write_json(draft.path / SPEC)
        return load_subnet(place).model


def search_quality(
    supernet: Supernet, corpus: Corpus, logs: Path, *, seeds: int, quick: bool
) -> list[Measurement]:
    """Enumerate the uniform nets, search among them, and cut some of the front out.

    Args:
        supernet: What is searched.
        corpus: Its corpus.
        logs: Folder of what was evaluated so far; a run that was cut off goes on from there.
        seeds: How often each search is run.
        quick: The likelihood in WER's place.
    """
    whole = supernet.config.space
    space = UniformSpace(**{name: getattr(whole, name) for name in SearchSpace.model_fields})
    samples = corpus_samples(corpus, supernet.table, "dev", None)
    topology = supernet.config.loss.topology
    data = scoring_set(supernet.model, samples, supernet.table, topology=topology)
    made_from = f"{supernet.artifact.digest}-{corpus.artifact.digest}"
    log = EvaluationLog(logs / "table.jsonl", made_from)
    table = enumerate_space(space, supernet, data, log)
    if quick:
        points = tuple(p.model_copy(update={"wer": p.nll}) for p in table.points)
        table = replace(table, points=points)
    front = non_dominated(table.points)
    picked = [front[i * (len(front) - 1) // max(1, EXTRACTED - 1)].spec for i in range(EXTRACTED)]
    return [*judged(table, seeds), *extracted(list(dict.fromkeys(picked)), supernet, corpus)]


def quick_supernet(work: Path) -> tuple[Path, Path]:
    """Return a supernet that has learned nothing, on tones, and its corpus."""
    work.mkdir(parents=True, exist_ok=True)
    corpus = tone_corpus(work / "tones")
    config = recipe("tiny", open_corpus(corpus).table.size)
    supernet = work / "supernet"
    if not is_complete(supernet, "supernet"):
        run_train(apply_overrides(config, ["schedule.steps=20"]), corpus, supernet)
    return supernet, corpus


def render(report: Report) -> str:
    """Return the page."""
    what = (
        "Hypervolume (dev WER, MACs) of a search's front over that of the exhaustive front, and "
        "what nets cut out of the supernet hear beside the supernet itself."
    )
    figures = everything(report.measurements)
    return page(f"# {NAME}", made_with(report.environment), what, figures)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--supernet", type=Path, help="a trained supernet")
    parser.add_argument("--corpus", type=Path, help="the corpus it was trained on")
    parser.add_argument("--quick", action="store_true", help="a tiny supernet on tones, 2 seeds")
    parser.add_argument("--work", type=Path, help=f"what was evaluated so far [runs/{NAME}]")
    parser.add_argument("--out", type=Path, help="folder of the results [benchmarks/results]")
    args = parser.parse_args()
    return told(NAME, lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Measure and write the report and its table."""
    torch.set_num_threads(1)
    work = args.work or (QUICK if args.quick else Path("runs")) / NAME
    if args.quick:
        args.supernet, args.corpus = quick_supernet(work)
    elif args.supernet is None or args.corpus is None:
        raise ConfigError("give --supernet FOLDER and --corpus FOLDER, or --quick")
    opened, source = load_supernet(args.supernet), open_corpus(args.corpus, verify=False)
    seeds = 2 if args.quick else SEEDS
    found = search_quality(opened, source, work, seeds=seeds, quick=args.quick)
    report = Report(environment=environment(range(seeds)), measurements=tuple(found))
    out = args.out or (work if args.quick else RESULTS)
    write(report, render(report), out / f"{NAME}.json")


if __name__ == "__main__":
    sys.exit(main())
