"""A subnet to a bundle: the device's form, and speech of the subnet's corpus to judge it by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from todm.core.artifact import Artifact, load_artifact
from todm.core.errors import ArtifactError, ConfigError, GateError, InputError
from todm.core.profile import DeviceProfile
from todm.core.quantization import ExportConfig
from todm.core.specs import SubnetSpec
from todm.core.target import ExportTarget, targets_for
from todm.data.manifest import open_corpus
from todm.export.assure import Assurance
from todm.export.evidence import Speech, evidence_of
from todm.export.run import run
from todm.export.schemes import calibration_s
from todm.features.wav import read_audio
from todm.flows.lineage import corpus_of
from todm.flows.speech import speech_for
from todm.flows.stages import say
from todm.models.store import SPEC, load_subnet
from todm.runtimes.bundle import PROFILE

ENOUGH_S = 75.0
"""Speech taken from a corpus: more than parity asks for, since a repeated recording counts once."""


def export_subnet(
    subnet: Path,
    out: Path,
    *,
    target: Literal["onnx", "executorch", "both"] | None = None,
    profile: DeviceProfile | None = None,
    audio: Sequence[Path] = (),
    corpus: Path | None = None,
    config: ExportConfig | None = None,
) -> Artifact:
    """Export a subnet in its device's form, or another, each judged on speech of its corpus.

    Args:
        subnet: A subnet artifact.
        out: The bundle's folder.
        target: Overrides the profile's form.
        profile: The device; None takes the one that the subnet was extracted for.
        audio: Recordings of real speech; without any the dev split of the corpus.
        corpus: A prepared corpus; None takes the one in the subnet's lineage.
        config: Which quantized forms are made, how, and what is asked of them.

    Raises:
        ConfigError: no device and no target, or the device wants another chunk.
        InputError: less than 60 s of speech, or no dev speech for the gate.
        GateError: parity, accuracy or drift failed.
    """
    config = config or ExportConfig()
    source = load_artifact(subnet, "subnet")
    device = profile or stored_profile(source)
    _same_chunk(source, device)
    heard = speech_for(subnet, audio, corpus, ENOUGH_S, "dev")
    speech = Speech([read_audio(path) for path in heard], _name(heard, audio, corpus))
    targets = targets_for(device, target, config)
    return run(
        subnet,
        targets,
        speech,
        out,
        profile=device,
        accelerators=config.accelerators,
        assurance=assurance_for(subnet, targets, corpus, config),
    )


def export_or_float(
    subnet: Path,
    out: Path,
    *,
    target: Literal["onnx", "executorch", "both"] | None = None,
    profile: DeviceProfile,
    corpus: Path,
    config: ExportConfig | None = None,
) -> None:
    """Do what ``export_subnet`` does; where a gate refuses a quantized form, in float32 alone.

    For flows that go on to other devices; the refusal is told in a line.

    Raises:
        GateError: float32 is refused as well.
    """
    config = config or ExportConfig()

    def write(config: ExportConfig) -> None:
        export_subnet(subnet, out, target=target, profile=profile, corpus=corpus, config=config)

    try:
        write(config)
    except GateError as error:
        if not any(t.quantized for t in targets_for(profile, target, config)):
            raise
        say(f"{profile.name} ships float32: {error}")
        write(config.model_copy(update={"precisions": ("fp32",)}))


def assurance_for(
    subnet: Path,
    targets: Sequence[ExportTarget],
    corpus: Path | None,
    config: ExportConfig,
) -> Assurance:
    """Return what the gates judge by: dev and calibration speech, where a target needs them.

    Raises:
        InputError: a quantized form is asked for and the corpus is gone.
    """
    schemes = [scheme for target in targets for scheme in target.quantized]
    seconds = max((calibration_s(scheme) for scheme in schemes), default=0.0)
    if not schemes or (config.ungated and not seconds):
        return Assurance(config.gate, ungated=config.ungated)
    try:
        opened = open_corpus(corpus or corpus_of(subnet), verify=False)
    except ArtifactError as error:
        raise InputError(
            f"{', '.join(s.precision for s in schemes)} is judged on transcribed dev speech: "
            f"{error}; or export --precision fp32 alone, or say --ungated to ship it unmeasured"
        ) from error
    evidence = evidence_of(opened, load_subnet(subnet).table, config.gate, seconds)
    return Assurance(config.gate, evidence, ungated=config.ungated)


def stored_profile(subnet: Artifact) -> DeviceProfile:
    """Return the profile that a subnet was extracted for.

    Raises:
        ConfigError: it was cut for no device.
    """
    if PROFILE not in subnet.manifest.files:
        raise ConfigError(f"{subnet.path}: was cut for no device; give one with --device")
    return DeviceProfile.read_json(subnet.file(PROFILE))


def _same_chunk(subnet: Artifact, profile: DeviceProfile) -> None:
    frames = SubnetSpec.read_json(subnet.file(SPEC)).chunk_frames
    if frames != profile.chunk_frames:
        raise ConfigError(
            f"{subnet.path}: steps {frames} frames, {profile.name} {profile.chunk_frames}; "
            f"extract a subnet with --device {profile.name}"
        )


def _name(speech: Sequence[Path], audio: Sequence[Path], corpus: Path | None) -> str:
    """Say where the speech comes from, for the lineage."""
    if audio:
        return f"given recordings: {', '.join(path.name for path in audio)}"
    return f"dev split of {corpus or 'the corpus of the lineage'}, {len(speech)} recordings"
