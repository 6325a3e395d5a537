import json
import math
import random

import pytest

from todm.core.artifact import write_artifact
from todm.core.cost import chunk_macs, chunk_s
from todm.core.front import FRONT_FILE, TRIALS_FILE, Front, FrontPoint, non_dominated
from todm.core.mixer_specs import MHSSMSpec
from todm.core.profile import load_profile
from todm.core.report import Measurement, Report, Verdict, environment
from todm.core.space import SearchSpace, spread_order
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec
from todm.report.run import ReportSources
from todm.report.sources import DeviceSources

STEPS = 900


def block(layer):
    return BlockSpec(
        source_layer=layer,
        ffn_dim=384,
        mixer=MHSSMSpec(num_heads=8, head_dim=16, state_dim=16),
    )


LARGEST = SubnetSpec(
    model_dim=128,
    blocks=tuple(block(layer) for layer in range(6)),
    predictor=PredictorSpec(embed_dim=64),
    joiner_dim=128,
    vocab_size=11,
)
SPACE = SearchSpace(
    largest=LARGEST,
    depths=(3, 4, 6),
    ffn_dims=(128, 256, 384),
    heads=(4, 8),
    state_dims=(8, 16),
    joiner_dims=(64, 128),
    depth_order=spread_order(6),
)


def report_artifact(path, measurements, verdicts=()):
    with write_artifact(path, kind="report") as draft:
        report = Report(environment=environment(), measurements=measurements, verdicts=verdicts)
        report.write_json(draft.path / "report.json")
    return path


def measured(name, value, unit, spread=0.1, n=60):
    return Measurement(
        name=name, value=value, unit=unit, low=value * (1 - spread), high=value * (1 + spread), n=n
    )


def supernet(path):
    lines = []
    noise = random.Random(0)
    for step in range(0, STEPS, 10):
        fall = 4.0 * math.exp(-step / 150)
        losses = {
            f"loss.{n}": fall * f + 0.05 * f * noise.uniform(0.8, 1.2)
            for n, f in (("largest", 1.0), ("smallest", 1.7), ("random0", 1.3))
        }
        lines.append({"step": step, "lr_factor": 1.0, "skipped": False, **losses})
        if step % 150 == 0 and step:
            dev = {
                n: {"wer": f + 90 * math.exp(-step / 200)}
                for n, f in (("largest", 2.0), ("middle", 2.6), ("smallest", 4.1))
            }
            lines.append({"step": step, "dev": dev})
    with write_artifact(path, kind="supernet") as draft:
        (draft.path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    return path


def front(path):
    draw = random.Random(1)
    specs = [SPACE.smallest, SPACE.middle, LARGEST, *(SPACE.sample(draw) for _ in range(60))]
    points = []
    for spec in specs:
        share = FrontPoint.of(spec, wer=0, nll=1).num_parameters / 1e6
        wer = round(max(0.5, 2.0 + 2.5 * math.exp(-4 * share) + draw.uniform(0, 1.2)), 2)
        points.append(FrontPoint.of(spec, wer=wer, nll=0.1))
    trials = Front(points=tuple(points), words=450)
    best = Front(points=non_dominated(points), words=450)
    with write_artifact(path, kind="front") as draft:
        trials.write_json(draft.path / TRIALS_FILE)
        best.write_json(draft.path / FRONT_FILE)
    return path, best


def device(folder, name, spec, speed):
    profile = load_profile(name)
    with write_artifact(folder / f"{name}-bundle", kind="bundle") as draft:
        spec.write_json(draft.path / "spec.json")
    macs = chunk_macs(spec)
    parts = {"encoder": macs.encoder, "predictor": macs.predictor, "joiner": macs.joiner}
    times = {"encoder": 2.0, "predictor": 0.05, "joiner": 0.2, "rest": 0.6}
    verdicts = [
        Verdict(
            name=b,
            status="met" if profile.judges(b) else "not_judged",
            limit=budget.limit,
            value=budget.limit / 2 if profile.judges(b) else None,
            unit="B",
            note=budget.source,
        )
        for b, budget in profile.budgets.items()
    ]
    bench = [
        measured("latency_ms.p50", 3.1 * speed, "ms"),
        measured("latency_ms.p95", 4.4 * speed, "ms"),
        measured("rtf", 0.0102 * speed, "s/s"),
        Measurement(name="bundle_bytes", value=1_800_000 * speed, unit="B"),
        *(
            Measurement(name=f"macs.{k}", value=v / chunk_s(spec), unit="MAC/s")
            for k, v in parts.items()
        ),
        *(measured(f"time_ms.{k}", v * speed, "ms") for k, v in times.items()),
    ]
    evaluations = {
        precision: report_artifact(
            folder / f"{name}-{precision}",
            [Measurement(name="wer", value=wer, unit="%", low=wer - 0.9, high=wer + 1.1, n=900)],
        )
        for precision, wer in (("fp32", 2.41 / speed), ("int8", 2.52 / speed))
    }
    if profile.runtime == "executorch":
        del evaluations["int8"]
    return DeviceSources(
        name=name,
        profile=profile,
        bundle=folder / f"{name}-bundle",
        evaluations=evaluations,
        bench=report_artifact(folder / f"{name}-bench", bench, verdicts),
    )


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Everything that a demo leaves behind, made up."""
    folder = tmp_path_factory.mktemp("demo")
    front_path, best = front(folder / "front")
    picks = [best.points[-1], best.points[len(best.points) // 2], best.points[0]]
    names = ("this_host", "android_mid_range", "mcu_arm")
    devices = [
        device(folder, name, point.spec, speed)
        for name, point, speed in zip(names, picks, (1.0, 0.7, 0.4), strict=True)
    ]
    stages_s = {
        "prepare": 21.3,
        "train": 260.8,
        "search": 44.0,
        "extract": 6.2,
        "export": 38.1,
        "check": 12.0,
        "bench": 40.5,
        "evaluate": 22.2,
    }
    return ReportSources(
        supernet=supernet(folder / "supernet"), front=front_path, devices=devices, stages_s=stages_s
    )
