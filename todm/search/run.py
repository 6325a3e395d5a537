"""``todm search``: a supernet and dev speech to a Pareto front of its subnets."""

import itertools
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.front import FRONT_FILE, TRIALS_FILE, Front, FrontPoint, non_dominated
from todm.core.search_config import SearchConfig
from todm.core.space import SearchSpace
from todm.data.manifest import open_corpus
from todm.models.scoring import corpus_samples, score, scoring_set
from todm.models.store import load_supernet
from todm.search.objectives import EvaluationLog, Objective
from todm.search.propose import proposals

Progress = Callable[[int, int, FrontPoint], None]
"""Called after each evaluation: how many are done, of how many, and the point."""


def run(
    config: SearchConfig, supernet: Path, corpus: Path, out: Path, progress: Progress | None = None
) -> Artifact:
    """Evaluate subnets of a supernet and keep the front of dev WER against MACs.

    A search that was killed goes on: its evaluations stand in ``<out>.evaluations.jsonl`` until
    the artifact is complete. The same seed gives the same front.

    Args:
        config: how many subnets, on how many utterances.
        supernet: a supernet artifact.
        corpus: a corpus artifact with the supernet's token table.
        out: where the front artifact goes.
        progress: told of each evaluation; None shows a bar.

    Raises:
        ArtifactError: an input is not what it should be.
        ConfigError: the corpus has another token table.
        DataError: there is no speech to evaluate on.
    """
    opened, source = load_supernet(supernet), open_corpus(corpus)
    model, space = opened.model, opened.config.space
    samples = corpus_samples(source, opened.table, config.split, config.eval_utterances)
    data = scoring_set(model, samples, opened.table, topology=opened.config.loss.topology)
    depends = (opened.artifact.digest, source.artifact.digest, config.split, config.eval_utterances)
    log = EvaluationLog(out.with_name(f"{out.name}.evaluations.jsonl"), "-".join(map(str, depends)))
    objective = Objective(lambda spec: score(model, spec, data), log)
    explore(space, config, objective, progress)
    trials = Front(points=objective.points, words=objective.words)
    front = Front(points=non_dominated(trials.points), words=trials.words)
    parents = {"supernet": opened.artifact, "corpus": source.artifact}
    with write_artifact(out, kind="front", parents=parents) as draft:
        front.write_json(draft.path / FRONT_FILE)
        trials.write_json(draft.path / TRIALS_FILE)
        draft.body = {
            "config": config.to_json(),
            "corpus_path": str(source.artifact.path.absolute()),
            "space_nets": space.count(),
            "evaluated_nets": len(trials.points),
            "front_nets": len(front.points),
            "utterances": len(samples),
            "words": trials.words,
            "best_wer": min(point.wer for point in trials.points),
        }
    log.remove()
    return load_artifact(out, "front", verify=False)


def explore(
    space: SearchSpace, config: SearchConfig, objective: Objective, progress: Progress | None
) -> None:
    """Evaluate what is proposed, one subnet after the other."""
    total = min(config.trials, space.count())
    with tqdm(total=total, desc="search", unit="net", disable=progress is not None) as bar:
        for done, spec in zip(
            itertools.count(1), proposals(space, config, objective.values), strict=False
        ):
            point = objective(spec)
            bar.update()
            bar.set_postfix(wer=f"{point.wer:.1f}", macs=f"{point.macs_per_audio_s / 1e6:.0f}M")
            if progress is not None:
                progress(done, total, point)
