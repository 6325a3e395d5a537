"""Audio files in and out: mono, 16 kHz, float32 in [-1, 1]."""

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Float32

from todm.core.errors import DataError
from todm.features.fbank import SAMPLE_RATE_HZ

MIN_AUDIO_S = 0.1
"""Shorter recordings are refused: they hold fewer than three encoder frames."""
MAX_PEAK = 8.0
"""Above this the samples are surely no fractions of full scale."""


def read_audio(
    path: Path,
    *,
    mix_down: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
    min_audio_s: float = MIN_AUDIO_S,
) -> Float32[np.ndarray, " S"]:
    """Read a recording (WAV, FLAC, Ogg Opus, MP3 ...) as 16 kHz mono float32.

    Args:
        path: The file.
        mix_down: Average the channels of a file with several.
        start_s: Where the part begins, in seconds.
        duration_s: How long the part is; None reads to the end.
        min_audio_s: Shorter audio is refused.

    Raises:
        DataError: one line: missing, unreadable, several channels, empty, too short, NaN.
    """
    samples_SC, rate_hz = _read_part(path, start_s, duration_s)
    samples_S = checked(samples_SC, rate_hz, str(path), mix_down=mix_down, min_audio_s=min_audio_s)
    return resample(samples_S, rate_hz)


def _read_part(
    path: Path, start_s: float, duration_s: float | None
) -> tuple[Float32[np.ndarray, "S C"], int]:
    if not path.is_file():
        raise DataError(f"{path}: no such audio file; correct the path")
    try:
        with soundfile.SoundFile(str(path)) as stream:
            rate_hz = int(stream.samplerate)
            first = min(round(start_s * rate_hz), stream.frames)
            stream.seek(first)
            count = -1 if duration_s is None else round(duration_s * rate_hz)
            samples_SC = stream.read(count, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as error:
        reason = str(error).replace("\n", " ")
        raise DataError(f"{path}: not readable as audio ({reason}); replace it") from error
    return np.asarray(samples_SC, np.float32), rate_hz


def decode_audio(data: bytes, where: str) -> Float32[np.ndarray, " S"]:
    """Return an encoded recording as 16 kHz mono float32.

    Args:
        data: The bytes of an audio file.
        where: What the message names.

    Raises:
        DataError: as of :func:`read_audio`.
    """
    try:
        samples_SC, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        reason = str(error).replace("\n", " ")
        raise DataError(f"{where}: not readable as audio ({reason}); replace it") from error
    return resample(checked(samples_SC, int(rate_hz), where), int(rate_hz))


def checked(
    samples_SC: Float32[np.ndarray, "S C"],
    rate_hz: int,
    where: str,
    *,
    mix_down: bool = False,
    min_audio_s: float = MIN_AUDIO_S,
) -> Float32[np.ndarray, " S"]:
    """Return the one channel of a recording, or say in one line why it is no use.

    Args:
        samples_SC: Samples by channel, at any rate.
        rate_hz: The rate.
        where: What the message names: the file or cut.
        mix_down: Average several channels instead of refusing them.
        min_audio_s: Shorter audio is refused.

    Raises:
        DataError: several channels, empty, too short, NaN, or not scaled to [-1, 1].
    """
    if samples_SC.shape[1] > 1 and not mix_down:
        raise DataError(
            f"{where}: has {samples_SC.shape[1]} channels, mono is needed; "
            "make it mono or ask for a mix-down"
        )
    samples_S = samples_SC[:, 0] if samples_SC.shape[1] == 1 else samples_SC.mean(axis=1)
    if samples_S.size == 0:
        raise DataError(f"{where}: holds no audio; remove the entry")
    if samples_S.size < min_audio_s * rate_hz:
        raise DataError(
            f"{where}: only {samples_S.size / rate_hz:.3f} s of audio, at least "
            f"{min_audio_s:g} s are needed; remove the entry"
        )
    finite_S = np.isfinite(samples_S)
    if not finite_S.all():
        first = int(np.flatnonzero(~finite_S)[0])
        raise DataError(f"{where}: sample {first} is NaN or infinite; replace the recording")
    peak = float(np.abs(samples_S).max())
    if peak > MAX_PEAK:
        raise DataError(f"{where}: peak {peak:g} but samples lie in [-1, 1]; scale the file")
    return samples_S


def resample(samples_S: Float32[np.ndarray, " S"], rate_hz: int) -> Float32[np.ndarray, " R"]:
    """Return the signal at 16 kHz (soxr, high quality; R samples); as it is when at 16 kHz."""
    if rate_hz == SAMPLE_RATE_HZ:
        return np.ascontiguousarray(samples_S, np.float32)
    out_S = soxr.resample(samples_S, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return np.ascontiguousarray(out_S, np.float32)


def write_wav(path: Path, samples_S: Float[np.ndarray, " S"]) -> None:
    """Write 16-bit mono audio at 16 kHz; the format follows the suffix (.wav or .flac).

    Samples outside [-1, 1] are clipped.

    Raises:
        DataError: the samples are not finite.
        OSError: the file cannot be written (libsndfile would not say why).
    """
    if not np.isfinite(samples_S).all():
        raise DataError(f"{path}: refusing to write NaN or infinite samples")
    clipped_S = np.clip(samples_S, -1.0, 1.0)
    stream = io.BytesIO()
    kind = path.suffix.lstrip(".").upper()
    soundfile.write(stream, clipped_S, SAMPLE_RATE_HZ, subtype="PCM_16", format=kind)
    path.write_bytes(stream.getvalue())
