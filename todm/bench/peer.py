"""A peer's recogniser under our meter: any sherpa-onnx online transducer triple in a folder.

The folder holds ``encoder*.onnx``, ``decoder*.onnx``, ``joiner*.onnx`` and ``tokens.txt``, nothing
of todm's. Chunk, context and vocabulary are read from the graphs' metadata and signature, stock
sherpa-onnx decodes. What a graph does not tell (the training unit, the MACs) is left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from todm.bench.child import CHILD, bench_many
from todm.bench.figures import timed_measurements
from todm.bench.job import BenchJob
from todm.bench.run import BenchConfig, budget_values
from todm.core.artifact import MANIFEST_NAME
from todm.core.contract import StatePart, StreamContract
from todm.core.errors import ArtifactError, ConfigError, DataError, MissingExtraError
from todm.core.profile import DeviceProfile
from todm.core.report import Measurement, Report, environment, judge
from todm.core.specs import SUBSAMPLING
from todm.runtimes import Precision
from todm.runtimes.bundle import PARTS, TOKENS
from todm.runtimes.triple import Triple


def is_triple(folder: Path) -> bool:
    """Tell whether a folder is no artifact of todm and looks like a transducer triple."""
    return (
        folder.is_dir()
        and not (folder / MANIFEST_NAME).exists()
        and (folder / TOKENS).is_file()
        and all(any(folder.glob(f"{part}*.onnx")) for part in PARTS)
    )


def read_triple(folder: Path, precision: Precision) -> Triple:
    """Read a triple by its metadata and its graphs' signatures.

    Raises:
        ArtifactError: a graph is missing, ambiguous, or no online transducer's.
        MissingExtraError: onnx is not installed.
    """
    files = {part: _file(folder, part, precision) for part in PARTS}
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", extra="onnx") from error
    models = {part: onnx.load(str(file), load_external_data=False) for part, file in files.items()}
    told = {part: {p.key: p.value for p in m.metadata_props} for part, m in models.items()}
    encoder = models["encoder"].graph
    chunk = _number(files["encoder"], told["encoder"], "decode_chunk_len")
    fed = _number(files["encoder"], told["encoder"], "T")
    if chunk % SUBSAMPLING or fed < chunk:
        raise ArtifactError(
            f"{files['encoder']}: advances {chunk} of {fed} frames; sherpa-onnx subsamples by "
            f"{SUBSAMPLING}"
        )
    contract = StreamContract(
        chunk_frames=chunk // SUBSAMPLING,
        state=tuple(_state(encoder)),
        joiner_dim=_width(models["joiner"].graph.input[0]),
        vocab_size=_number(files["decoder"], told["decoder"], "vocab_size"),
        context_size=_number(files["decoder"], told["decoder"], "context_size"),
        token_unit="bpe",
        tail_padding_ms=10 * (fed + 1) + 25 + 10 * chunk,
    )
    params = sum(_scalars(t.dims) for m in models.values() for t in m.graph.initializer)
    return Triple(
        files=files,
        tokens=folder / TOKENS,
        contract=contract,
        model_type=told["encoder"].get("model_type", ""),
        num_parameters=params,
    )


def _file(folder: Path, part: str, precision: Precision) -> Path:
    found = sorted(folder.glob(f"{part}*.onnx"))
    small = [path for path in found if ".int8." in path.name]
    plain = [path for path in found if path not in small]
    chosen = (small or plain) if precision == "int8" else plain
    if len(chosen) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ArtifactError(
            f"{folder}: one {part} in {precision} is needed, it has {names}; "
            "put the one to measure into a folder of its own"
        )
    return chosen[0].absolute()


def _number(file: Path, told: dict[str, str], key: str) -> int:
    if not told.get(key, "").isdigit():
        raise ArtifactError(
            f"{file}: its metadata has no {key}, so it is no online transducer of sherpa-onnx"
        )
    return int(told[key])


def _state(graph: Any) -> list[StatePart]:
    """Return the encoder's inputs after the features; a batch axis without a size counts once."""
    parts, offset = [], 0
    for port in graph.input[1:]:
        shape = tuple(max(1, d.dim_value) for d in port.type.tensor_type.shape.dim)
        parts.append(StatePart(name=port.name, offset=offset, shape=shape))
        offset += parts[-1].num_floats
    return parts


def _width(port: Any) -> int:
    return int(port.type.tensor_type.shape.dim[-1].dim_value)


def _scalars(dims: Sequence[int]) -> int:
    total = 1
    for size in dims:
        total *= size
    return total


def run(
    folder: Path,
    audio: Sequence[Path],
    config: BenchConfig | None = None,
    *,
    profile: DeviceProfile | None = None,
    command: Sequence[str] = CHILD,
) -> Report:
    """Measure a peer's triple in stock sherpa-onnx and judge a profile's budgets.

    Raises:
        ArtifactError: no triple, or sherpa-onnx cannot run it.
        ConfigError: another runtime than sherpa is asked for.
        DataError: no audio is given.
    """
    config = config or BenchConfig()
    if config.runtime not in (None, "sherpa"):
        raise ConfigError(f"{folder}: a triple without a manifest runs in sherpa alone")
    if not audio:
        raise DataError(f"{folder}: no speech to measure with; give --audio or --corpus")
    precision = config.precision or ("fp32" if profile is None else profile.numeric)
    triple = read_triple(folder, precision)
    job = BenchJob(
        model=folder.absolute(),
        runtime="sherpa",
        precision=precision,
        threads=config.threads or (1 if profile is None else profile.threads),
        audio=tuple(path.absolute() for path in audio),
        seconds=config.seconds,
        paced_s=config.paced_s,
        triple=triple,
    )
    found = bench_many({folder.name: job}, repeats=config.repeats, command=command)[folder.name]
    size = sum(file.stat().st_size for file in (*triple.files.values(), triple.tokens))
    count = triple.num_parameters
    measurements = (
        *timed_measurements(found, job),
        Measurement(name="params", value=count, unit="scalars", note="initializers"),
        Measurement(name="bundle_bytes", value=size, unit="B", note="three graphs and tokens.txt"),
    )
    verdicts = () if profile is None else judge(profile, budget_values(measurements))
    return Report(environment=environment(), measurements=measurements, verdicts=verdicts)
