"""``todm bench``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todm.cli.options import Audio, Json, MaybeCorpus, MaybeDevice, MaybeOut, Sets

if TYPE_CHECKING:
    from todm.core.profile import DeviceProfile


def bench(
    model: Annotated[
        Path, typer.Argument(help="A bundle of any kind, or a subnet.", show_default=False)
    ],
    device: MaybeDevice = None,
    audio: Audio = None,
    corpus: MaybeCorpus = None,
    sets: Sets = None,
    out: MaybeOut = None,
    as_json: Json = False,
) -> None:
    """Measure latency, memory and size on this machine.

    Each measurement has a process of its own. The speech comes from --audio, else from the test
    split of the corpus; a forecaster and a classifier need none (--set steps=N).

    \b
    todm bench exports/rpi4 --device raspberry_pi_4
    todm bench exports/rpi4 --audio talk.wav --set threads=2 --set precision=int8
    todm bench exports/digits --device raspberry_pi_4 --set steps=500
    """
    from todm.bench import peer
    from todm.bench.run import BenchConfig, run, speech_of
    from todm.cli.output import say_report
    from todm.core.errors import ConfigError
    from todm.core.overrides import apply_overrides
    from todm.core.profile import load_profile
    from todm.flows.lineage import hears_speech
    from todm.flows.speech import speech_for

    profile = None if device is None else load_profile(device)
    if not hears_speech(model):
        _steps(model, profile, bool(audio or corpus), sets, out, as_json=as_json)
        return
    chosen = apply_overrides(BenchConfig(), sets or [])
    if peer.is_triple(model):
        if out is not None:
            raise ConfigError("--out: the report of a peer's model has no artifact for a parent")
        speech = audio or ([] if corpus is None else speech_of(corpus, "test", chosen.seconds))
        report = peer.run(model, speech, chosen, profile=profile)
    else:
        speech = speech_for(model, audio or [], corpus, chosen.seconds)
        report = run(model, speech, chosen, profile=profile, out=out)
    v = {m.name: m.value for m in report.measurements}
    verdicts = "".join(f"; {w.name} {w.status.replace('_', ' ')}" for w in report.verdicts)
    line = (
        f"report  {model}  latency p50 {v['latency_ms.p50']:.2f} ms, "
        f"p95 {v['latency_ms.p95']:.2f} ms per {v['chunk_ms']:.0f} ms chunk, "
        f"RTF {v['rtf']:.4f}{verdicts}"
    )
    say_report(report, line, as_json=as_json)


def _steps(
    model: Path,
    profile: "DeviceProfile | None",
    speech: bool,
    sets: list[str] | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    from todm.bench.step_facts import facts_of
    from todm.bench.steps import StepBenchConfig, run
    from todm.cli.output import say_report
    from todm.core.artifact import load_artifact
    from todm.core.errors import ConfigError
    from todm.core.overrides import apply_overrides

    if speech:
        raise ConfigError(f"{model}: is measured without speech; leave out --audio and --corpus")
    report = run(model, apply_overrides(StepBenchConfig(), sets or []), profile=profile, out=out)
    step = facts_of(load_artifact(model, verify=False)).step
    v = {m.name: m.value for m in report.measurements}
    verdicts = "".join(f"; {w.name} {w.status.replace('_', ' ')}" for w in report.verdicts)
    line = (
        f"report  {model}  latency p50 {v['latency_ms.p50']:.3f} ms, "
        f"p95 {v['latency_ms.p95']:.3f} ms per {step}, {v[f'macs_per_{step}']:.0f} MACs, "
        f"{v['bundle_bytes']:.0f} B{verdicts}"
    )
    say_report(report, line, as_json=as_json)
