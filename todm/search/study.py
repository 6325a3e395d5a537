"""The study: which nets are evaluated, which are whose, and what they scored.

Optuna keeps it, in this process or in a storage that several processes and machines share. A trial
is a net's genome. A worker asks for a trial, writes its genome, then reads all others: it gives
the net up when another worker has it, or when enough nets are under way without it. Since every
worker writes before it reads, of two with the same net at least one sees the other.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from todm.core.errors import ArtifactError, ConfigError
from todm.core.search_config import SearchConfig
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.models.scoring import Scores
from todm.search.objectives import Score, minimised
from todm.search.sampler import GenomeSampler

WORKER, SCORES = "worker", "scores"
"""What a trial carries: whose it is, and what its net scored."""
POLL_S = 0.25
"""How often a worker with nothing to do looks whether others are done."""

OnNet = Callable[[SubnetSpec, Scores, int], None]
"""Told of each net that this worker evaluated, and how many are done by all workers."""


@dataclass(frozen=True)
class _Claim:
    """A net that is this worker's to evaluate."""

    trial: Trial
    spec: SubnetSpec


class Study:
    """One search, perhaps shared."""

    def __init__(self, space: SearchSpace, config: SearchConfig, name: str = "search") -> None:
        """Begin a study, or join the one of that name in ``config.storage``.

        Raises:
            ArtifactError: the storage is a file that is no journal, or cannot be written.
            ConfigError: the storage is a URL that cannot be opened.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._config = space, config
        self.target = min(config.trials, space.count())
        """How many nets are evaluated, by all workers together."""
        self._sampler = GenomeSampler(space, config)
        self._study = _open(config.storage, name, self._sampler)

    def search(self, score: Score, on_net: OnNet) -> None:
        """Evaluate nets until as many as wanted are, by whichever worker."""
        for claim in self._claims():
            try:
                scores = score(claim.spec)
            except BaseException:
                self._study.tell(claim.trial, state=TrialState.FAIL, skip_if_finished=True)
                raise
            if self._finish(claim, scores):
                on_net(claim.spec, scores, len(self.scores()))

    def scores(self) -> dict[SubnetSpec, Scores]:
        """Return every evaluated net with its scores, in the order of the trials."""
        found: dict[SubnetSpec, Scores] = {}
        for trial in self._trials(TrialState.COMPLETE):
            spec = self._sampler.spec_of(trial)
            if spec is not None:
                found.setdefault(spec, Scores(**trial.user_attrs[SCORES]))
        return found

    def _claims(self) -> Iterator[_Claim]:
        """Yield nets to evaluate; waits for other workers where they have the last ones."""
        while (done := len(self.scores())) < self.target:
            self._give_up_abandoned()
            if done + len(self._trials(TrialState.RUNNING)) >= self.target:
                time.sleep(POLL_S)
                continue
            claim = self._ask()
            if claim is not None:
                yield claim

    def _ask(self) -> _Claim | None:
        trial = self._study.ask()
        trial.set_user_attr(WORKER, [socket.gethostname(), os.getpid()])
        genome = {
            name: int(trial.suggest_categorical(name, values))
            for name, values in self._space.choices().items()
        }
        spec = self._space.decode(genome)
        if self._is_mine(trial, spec):
            return _Claim(trial, spec)
        self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        return None

    def _is_mine(self, own: Trial, spec: SubnetSpec) -> bool:
        """Tell whether nobody else has the net, and it is still wanted."""
        done, before = set(), 0
        for trial in self._trials(TrialState.COMPLETE, TrialState.RUNNING):
            if trial.number == own.number:
                continue
            other = self._sampler.spec_of(trial)
            if other == spec:
                return False
            if trial.state == TrialState.COMPLETE:
                done.add(other)
            elif trial.number < own.number:
                before += 1
        return len(done) + before < self.target

    def _finish(self, claim: _Claim, scores: Scores) -> bool:
        """Write the scores down, unless the net was taken from this worker."""
        try:
            claim.trial.set_user_attr(SCORES, vars(scores))
        except UpdateFinishedTrialError:
            return False
        self._study.tell(claim.trial, minimised(claim.spec, scores), skip_if_finished=True)
        return True

    def _give_up_abandoned(self) -> None:
        """End the trials of workers that are gone; their nets are free again."""
        for trial in self._trials(TrialState.RUNNING):
            if _abandoned(trial, self._config.abandoned_after_s):
                self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)


def _abandoned(trial: FrozenTrial, after_s: float) -> bool:
    """Tell whether a trial's worker ended on this machine, or has been at it for too long."""
    host, pid = trial.user_attrs.get(WORKER, ("", 0))
    if host == socket.gethostname() and not _runs(pid):
        return True
    begun = trial.datetime_start
    return begun is not None and time.time() - begun.timestamp() > after_s


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _open(storage: str | None, name: str, sampler: GenomeSampler) -> optuna.Study:
    def study(opened: BaseStorage | None) -> optuna.Study:
        return optuna.create_study(
            storage=opened,
            study_name=name,
            sampler=sampler,
            directions=["minimize", "minimize"],
            load_if_exists=True,
        )

    if storage is None:
        return study(None)
    return _from_url(storage, study) if "://" in storage else _from_journal(Path(storage), study)


def _from_url(url: str, study: Callable[[BaseStorage], optuna.Study]) -> optuna.Study:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return study(RDBStorage(url))
    except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
        scheme = url.partition("://")[0]  # the rest may hold a password
        line = str(error).splitlines()[0]
        raise ConfigError(
            f"storage {scheme}://...: cannot open ({line}); give a database or a file"
        ) from error


def _from_journal(path: Path, study: Callable[[BaseStorage], optuna.Study]) -> optuna.Study:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return study(JournalStorage(JournalFileBackend(str(path))))
    except OSError as error:
        why = error.strerror or error
        raise ArtifactError(f"storage {path}: cannot write ({why}); choose another") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"storage {path}: is no journal of a search, or is damaged ({error}); delete it or "
            "choose another"
        ) from error
