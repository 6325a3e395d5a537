"""``todm search``: a supernet and dev speech to a Pareto front of its subnets."""

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tqdm import tqdm

from todm.core.artifact import Artifact, is_complete, load_artifact, require_place, write_artifact
from todm.core.errors import ArtifactError
from todm.core.front import FRONT_FILE, TRIALS_FILE, Front, FrontPoint, non_dominated
from todm.core.search_config import SearchConfig
from todm.core.specs import SubnetSpec
from todm.data.manifest import open_corpus
from todm.models.rnnt import Transducer
from todm.models.scoring import Scores, ScoringSet, corpus_samples, score, scoring_set
from todm.models.store import load_supernet
from todm.search.objectives import EvaluationLog, Score, logged
from todm.search.study import POLL_S, Study

Progress = Callable[[int, int, FrontPoint], None]
"""Called after each evaluation: how many are done, of how many, and the point."""
WRITE_TRIES = 5
"""Workers that end together may all write the same front to one place."""


def run(
    config: SearchConfig, supernet: Path, corpus: Path, out: Path, progress: Progress | None = None
) -> Artifact:
    """Evaluate subnets of a supernet and keep the front of dev WER against MACs.

    A search alone that was killed goes on: its evaluations stand in ``<out>.evaluations.jsonl``
    until the artifact is complete, and the same seed gives the same front. With
    ``config.storage`` any number of processes, here or elsewhere, run the same command and share
    one search: each net is evaluated once, by one of them, and every process writes the whole
    front when the last net is done. What a process that died was at goes to another.

    Args:
        config: how many subnets, on how many utterances, shared where.
        supernet: a supernet artifact.
        corpus: a corpus artifact with the supernet's token table.
        out: where the front artifact goes.
        progress: told of each evaluation; None shows a bar.

    Raises:
        ArtifactError: an input is not what it should be.
        ConfigError: the corpus has another token table, or the storage cannot be opened.
        DataError: there is no speech to evaluate on.
    """
    opened, source = load_supernet(supernet), open_corpus(corpus)
    model, space = opened.model, opened.config.space
    samples = corpus_samples(source, opened.table, config.split, config.eval_utterances)
    data = scoring_set(model, samples, opened.table, topology=opened.config.loss.topology)
    parents = {"supernet": opened.artifact, "corpus": source.artifact}
    scored_on = [artifact.digest for artifact in parents.values()]
    scored_on += [config.split, str(config.eval_utterances)]
    out = out.absolute()
    require_place(out, "front")
    study = Study(space, config, _study_name(config, scored_on))
    log = None
    if config.storage is None:
        place = out.with_name(f"{out.name}.evaluations.jsonl")
        log = EvaluationLog(place, "-".join(scored_on))
    explore(study, _scorer(model, data, log), progress)
    trials = trials_of(study)
    body = {
        "config": config.model_copy(update={"storage": None}).to_json(),
        "corpus_path": str(source.artifact.path.absolute()),
        "space_nets": space.count(),
        "utterances": len(samples),
    }
    if config.storage is not None:
        return _write_with_others(out, trials, parents, body)
    made = _write(out, trials, parents, body)
    if log is not None:
        log.remove()
    return made


def explore(study: Study, score: Score, progress: Progress | None) -> None:
    """Evaluate what the study proposes, one subnet after the other, until it is complete."""
    total = study.target
    with tqdm(total=total, desc="search", unit="net", disable=progress is not None) as bar:

        def told(spec: SubnetSpec, scores: Scores, done: int) -> None:
            point = FrontPoint.of(spec, wer=scores.wer, nll=scores.nll)
            bar.update(done - bar.n)
            bar.set_postfix(wer=f"{point.wer:.1f}", macs=f"{point.macs_per_audio_s / 1e6:.0f}M")
            if progress is not None:
                progress(done, total, point)

        study.search(score, told)


def trials_of(study: Study) -> Front:
    """Return every evaluated subnet, by whichever process, in the order of the trials."""
    scores = study.scores()
    points = tuple(FrontPoint.of(spec, wer=s.wer, nll=s.nll) for spec, s in scores.items())
    return Front(points=points, words=max(s.words for s in scores.values()))


def _scorer(model: Transducer, data: ScoringSet, log: EvaluationLog | None) -> Score:
    def scored(spec: SubnetSpec) -> Scores:
        return score(model, spec, data)

    return scored if log is None else logged(scored, log)


def _study_name(config: SearchConfig, scored_on: Sequence[str]) -> str:
    """Name a search in its storage; one that takes more nets goes on where the other ended."""
    parts = [*scored_on, *map(str, (config.seed, config.population, config.preselect))]
    return f"todm-{sha256('-'.join(parts).encode()).hexdigest()[:16]}"


def _write(
    out: Path, trials: Front, parents: Mapping[str, Artifact], body: Mapping[str, Any]
) -> Artifact:
    front = Front(points=non_dominated(trials.points), words=trials.words)
    with write_artifact(out, kind="front", parents=parents) as draft:
        front.write_json(draft.path / FRONT_FILE)
        trials.write_json(draft.path / TRIALS_FILE)
        draft.body = {
            **body,
            "evaluated_nets": len(trials.points),
            "front_nets": len(front.points),
            "words": trials.words,
            "best_wer": min(point.wer for point in trials.points),
        }
    return load_artifact(out, "front", verify=False)


def _write_with_others(
    out: Path, trials: Front, parents: Mapping[str, Artifact], body: Mapping[str, Any]
) -> Artifact:
    """Write the front where other processes may be writing the same one at the same time."""
    for _ in range(WRITE_TRIES - 1):
        try:
            return _write(out, trials, parents, body)
        except ArtifactError:
            time.sleep(POLL_S)
            if is_complete(out, "front"):
                made = load_artifact(out, "front")
                if Front.read_json(made.file(TRIALS_FILE)) == trials:
                    return made
    return _write(out, trials, parents, body)
