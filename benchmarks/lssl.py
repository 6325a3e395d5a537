"""LSSL classifiers beside a GRU, a dilated CNN and MH-SSM, and what the paper claims of them.

Tasks: spoken digits (FSDD) and ten Arabic command words as raw audio at 4 kHz and as MFCC, the
words once at 16 kHz, sequential and permuted MNIST at 14 x 14 and once whole. Networks have the
parameters of the trainable LSSL within 3 % and equal epochs; each method's learning rate is the
best of three on dev by a third of the epochs and one seed; then three seeds, judged on test.
Audio at full rate is also tested with one sample in two, filtered or not, with and without the
rule that doubles every step size.

The whole costs about 7 core-hours on one thread of a shared 2-core machine (FSDD 2.9, the words 2.1
and 0.65 more at 16 kHz, MNIST 1.5). Each training lies in --work under the digest of
its configuration: a run that was cut off goes on, and processes may share the work by --only TASKS
and --methods. A run of some tasks with --out keeps the report there for the others, and takes the
learning rates of a task that it does not run from there.

    python benchmarks/lssl.py --corpus-dir FOLDER [--work runs/lssl] [--only fsdd,pmnist] [--quick]
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from arguments import folders, names_of, told
from lssl_plan import METHODS, RATES, SEARCH_SHARE, SEEDS, TASKS, TOLD, TaskPlan, quick_tasks
from lssl_table import claims, page_of, verdicts
from measuring import over_seeds
from pages import RESULTS, kept, of_report, write
from trials import DIVERGED
from trials_cli import numbers

from todm.core.artifact import Artifact, is_complete, load_artifact
from todm.core.classify_config import ClassifyConfig, ClassifyEvalConfig, SequencesConfig
from todm.core.errors import GateError
from todm.core.report import Measurement, Report, environment
from todm.data.sequences import Sequences, open_sequences
from todm.evaluate.classify import run as run_eval
from todm.prepare.sequences import run as run_prepare
from todm.train.classify_run import run as run_train

NAME = "lssl"
SCALING = "lssl_scaling.json"
"""Whose figures are taken over: one report holds all of a layer."""
FULL = ClassifyEvalConfig()


@dataclass(frozen=True)
class Bench:
    """The trainings of the benchmark, in a work folder."""

    work: Path
    corpora_dir: Path | None
    tasks: dict[str, TaskPlan]
    seeds: tuple[int, ...]
    threads: int
    methods: tuple[str, ...] = tuple(METHODS)
    earlier: Mapping[str, float] = field(default_factory=dict)
    """Figures of tasks that are not run again."""
    lost: list[str] = field(default_factory=list)
    """Why figures are missing."""

    def sequences(self, config: SequencesConfig) -> Sequences:
        """Return prepared sequences, made once."""
        out = self.work / f"{config.name}_{config.digest()[:8]}"
        if not is_complete(out, "sequences"):
            run_prepare(config, out, corpora_dir=self.corpora_dir, report=_say)
        return open_sequences(out)

    def trained(self, config: ClassifyConfig, data: Sequences) -> Artifact:
        """Train, or return what was trained before.

        Raises:
            GateError: the training diverged, now or before; it is not repeated.
        """
        parts = f"{config.deciding().digest()} {data.artifact.digest}"
        folder = self.work / sha256(parts.encode()).hexdigest()[:16]
        out, diverged = folder / "classifier", folder / DIVERGED
        if diverged.is_file():
            raise GateError(diverged.read_text("utf-8"))
        if is_complete(out, "classifier"):
            return load_artifact(out, "classifier", verify=False)
        folder.mkdir(parents=True, exist_ok=True)
        _say(f"{config.recipe}, seed {config.seed}, lr {config.train.lr:g} in {folder.name}")
        try:
            return run_train(config, data.artifact.path, out)
        except GateError as error:
            diverged.write_text(str(error), "utf-8")
            raise

    def report(self, model: Artifact, data: Sequences, config: ClassifyEvalConfig) -> Measurement:
        """Return the accuracy of a model, measured once."""
        kept = model.path.with_name(f"eval_{config.digest()[:12]}.json")
        if not kept.is_file():
            scratch = kept.with_suffix(".tmp")
            run_eval(model.path, data.artifact.path, config).report.write_json(scratch)
            scratch.replace(kept)
        return Report.read_json(kept).measurements[0]

    def rate(self, task: str, method: str) -> float:
        """Return a method's learning rate: the best of three on dev after a third of the epochs."""
        plan = self.tasks[task]
        if plan.rates_of is not None:
            found_before = self.earlier.get(f"{plan.rates_of}.{method}.lr")
            return found_before or self.rate(plan.rates_of, method)
        data = self.sequences(plan.sequences)
        found: dict[float, float] = {}
        for lr in RATES:
            config = plan.config(method, data.facts, lr=lr, seed=0, threads=self.threads)
            epochs = max(1, plan.epochs // SEARCH_SHARE)
            short = config.train.model_copy(update={"epochs": epochs})
            try:
                model = self.trained(config.model_copy(update={"train": short}), data)
                found[lr] = self.report(model, data, ClassifyEvalConfig(split="dev")).value
            except GateError as error:
                self.lost.append(f"{task}.{method} at lr {lr:g}: {error}")
        if not found:
            raise GateError(f"{task}.{method}: every learning rate diverged")
        return max(found, key=lambda lr: found[lr])

    def figures(self, task: str) -> Iterator[Measurement]:
        """Yield the figures of a task, method by method."""
        plan = self.tasks[task]
        data = self.sequences(plan.sequences)
        for method in (m for m in plan.methods if m in self.methods):
            try:
                yield from self._method(task, method, plan, data)
            except GateError as error:
                self.lost.append(f"{task}.{method}: {error}")

    def _method(
        self, task: str, method: str, plan: TaskPlan, data: Sequences
    ) -> Iterator[Measurement]:
        prefix, lr = f"{task}.{method}", self.rate(task, method)
        models = [
            self.trained(
                plan.config(method, data.facts, lr=lr, seed=seed, threads=self.threads), data
            )
            for seed in self.seeds[: plan.max_seeds]
        ]
        found = [self.report(model, data, FULL) for model in models]
        yield over_seeds(f"{prefix}.accuracy", [m.value for m in found], "%")
        for seed, accuracy in zip(self.seeds, found, strict=False):
            note = "bootstrap interval over test sequences"
            named = {"name": f"{prefix}.seed{seed}.accuracy", "note": note}
            yield accuracy.model_copy(update=named)
        if plan.half_rate:
            yield from self._half_rate(prefix, method, models, data)
        yield Measurement(name=f"{prefix}.lr", value=lr, unit="")
        yield Measurement(name=f"{prefix}.params", value=_number(models[0], "params"), unit="")
        times = [_number(model, "cpu_s") for model in models]
        yield over_seeds(f"{prefix}.train_cpu_s", times, "s")

    def _half_rate(
        self, prefix: str, method: str, models: Sequence[Artifact], data: Sequences
    ) -> Iterator[Measurement]:
        for decimate in ("filtered", "plain"):
            middle = "" if decimate == "filtered" else "plain."
            for rule in (True, False) if method in TOLD else (False,):
                config = ClassifyEvalConfig.model_validate(
                    {"rate": 2, "rule": rule, "decimate": decimate}
                )
                values = [self.report(model, data, config).value for model in models]
                name = f"{prefix}.half_rate.{middle}{'with' if rule else 'without'}_rule"
                yield over_seeds(name, values, "%")


def _number(model: Artifact, key: str) -> float:
    value = model.body[key]
    assert isinstance(value, int | float)
    return float(value)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Read the command line and run."""
    args = _arguments()
    return told(NAME, lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Make what is not made yet of the chosen tasks, and write the report and its page."""
    partial = bool(args.only or args.methods or args.quick or args.seeds != SEEDS)
    with tempfile.TemporaryDirectory(prefix="todm-lssl-") as scratch:
        work, out = folders(args, NAME, scratch, partial=partial)
        tasks = quick_tasks(work) if args.quick else TASKS
        seeds = args.seeds[:1] if args.quick else args.seeds
        methods = args.methods or tuple(METHODS)
        chosen = args.only or tuple(tasks)
        before = kept(out / f"{NAME}.json") if partial else []
        earlier = {m.name: m.value for m in before if m.name.partition(".")[0] not in chosen}
        bench = Bench(work, args.corpus_dir, tasks, seeds, args.threads, methods, earlier)
        found = [m for task in chosen if task in tasks for m in bench.figures(task)]
    again = {m.name for m in found}
    found += [m for m in before if m.name not in again and not m.name.startswith("scaling.")]
    order = {task: place for place, task in enumerate(tasks)}
    found.sort(key=lambda m: order.get(m.name.partition(".")[0], len(order)))
    if not args.quick:
        found += of_report(RESULTS / SCALING)
    named = {m.name: m for m in found}
    report = Report(
        environment=environment(seeds),
        measurements=tuple(found),
        verdicts=tuple(verdicts(named)),
    )
    print(claims(tasks, named))
    write(report, page_of(report, tasks, bench.lost), out / f"{NAME}.json")


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--corpus-dir", type=Path, help="folder that holds the corpora by name [TODM_CORPORA]")
    add("--work", type=Path, help="folder of all trainings [runs/lssl]")
    add(
        "--only",
        type=names_of(TASKS),
        help=f"comma-separated tasks of {', '.join(TASKS)}; writes into --work",
    )
    add(
        "--methods",
        type=names_of(METHODS),
        help=f"comma-separated methods of {', '.join(METHODS)}; writes into --work",
    )
    add("--seeds", type=numbers, default=SEEDS, help="[0,1,2]; fewer write into --work")
    add("--threads", type=int, default=1, help="of a training [1]")
    add("--quick", action="store_true", help="tiny trainings on sines; learn nothing")
    add("--out", type=Path, help="folder of the results [benchmarks/results; --work if partial]")
    return made.parse_args()


if __name__ == "__main__":
    sys.exit(main())
