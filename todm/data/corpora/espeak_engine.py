"""espeak-ng through ctypes: text to samples, every return code checked, nothing printed.

The library comes with the package espeakng-loader (espeak-ng is GPL-3.0, so it is an optional
extra and nothing of it is linked or shipped). Its output depends on what it said before (the
flutter of the pitch runs on), and espeak_Terminate does not reset that. So each engine loads a
copy of the library: fresh statics, and the same sequence of calls gives the same samples.
Use an engine from one thread.
"""

import ctypes
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from todm.core.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    Pcm16 = np.ndarray[tuple[int], np.dtype[np.int16]]

_SYNCHRONOUS_RETRIEVAL = 2
"""Samples go to our callback, and espeak_Synth returns when all are made."""
_DONT_EXIT = 0x8000
_UTF8 = 1
_BY_CHARACTER = 1
_RATE, _PITCH = 1, 3
_CODES = {-1: "internal error", 1: "buffer full", 2: "not found"}
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def _fresh_library(path: Path) -> ctypes.CDLL:
    """Load a copy of a shared library; the copy is removed, the mapping stays."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            copy = shutil.copy(path, Path(folder) / path.name)
            return ctypes.CDLL(str(copy))
    except OSError as error:
        raise DataError(
            f"{path}: espeak-ng does not load ({error}); reinstall espeakng-loader"
        ) from error


class EspeakEngine:
    """A freshly initialised espeak-ng."""

    def __init__(self) -> None:
        """Load and initialise the library.

        Raises:
            MissingExtraError: espeakng-loader is not installed.
            DataError: the library does not load or does not start.
        """
        try:
            import espeakng_loader
        except ImportError as error:
            raise MissingExtraError("espeakng-loader", extra="synth") from error
        self._lib = _fresh_library(Path(espeakng_loader.get_library_path()))
        self._declare()
        data = Path(espeakng_loader.get_data_path()).parent
        self._variants = data / "espeak-ng-data" / "voices" / "!v"
        self.rate_hz = int(
            self._lib.espeak_Initialize(_SYNCHRONOUS_RETRIEVAL, 0, str(data).encode(), _DONT_EXIT)
        )
        if self.rate_hz <= 0:
            raise DataError(f"{data}: espeak-ng does not start; reinstall espeakng-loader")
        self._chunks: list[Pcm16] = []
        self._callback = _CALLBACK(self._take)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _declare(self) -> None:
        integer, text = ctypes.c_int, ctypes.c_char_p
        self._lib.espeak_Initialize.argtypes = [integer, integer, text, integer]
        self._lib.espeak_SetVoiceByName.argtypes = [text]
        self._lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._lib.espeak_SetParameter.argtypes = [integer, integer, integer]
        self._lib.espeak_Synth.argtypes = [
            text,
            ctypes.c_size_t,
            ctypes.c_uint,
            integer,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    def _take(self, samples: object, count: int, _events: object) -> int:
        if samples and count > 0:
            view = np.ctypeslib.as_array(samples, (count,))
            self._chunks.append(view.copy())
        return 0

    def say(self, text: str, *, voice: str, speed_wpm: int, pitch: int, seed: int = 1) -> "Pcm16":
        """Return 16-bit samples at ``rate_hz`` of a text.

        Args:
            text: What to say.
            voice: A voice or ``voice+variant``.
            speed_wpm: Words per minute, 80 to 450.
            pitch: Base pitch, 0 to 100.
            seed: Of espeak-ng's own generator (breath noise), which else starts from the clock.

        Raises:
            DataError: espeak-ng refuses the voice, a parameter or the text, or stays silent.
        """
        self._check(self._lib.espeak_ng_SetRandSeed(seed % 2**31), f"seed {seed}")
        variant = voice.partition("+")[2]
        if variant and not (self._variants / variant).is_file():
            # espeak-ng would say "done" and speak with the plain voice.
            raise DataError(f"espeak-ng voice {voice!r}: no variant {variant!r}; choose another")
        self._check(self._lib.espeak_SetVoiceByName(voice.encode()), f"voice {voice!r}")
        self._check(self._lib.espeak_SetParameter(_RATE, speed_wpm, 0), f"speed {speed_wpm}")
        self._check(self._lib.espeak_SetParameter(_PITCH, pitch, 0), f"pitch {pitch}")
        self._chunks.clear()
        data = text.encode() + b"\0"
        code = self._lib.espeak_Synth(data, len(data), 0, _BY_CHARACTER, 0, _UTF8, None, None)
        self._check(code, f"text {text!r}")
        if not self._chunks or not any(chunk.any() for chunk in self._chunks):
            raise DataError(f"espeak-ng voice {voice!r}: no sound for {text!r}; drop the voice")
        return np.concatenate(self._chunks)

    @staticmethod
    def _check(code: int, what: str) -> None:
        if code != 0:
            reason = _CODES.get(code, f"code {code}")
            raise DataError(f"espeak-ng {what}: {reason}; choose one that espeak-ng has")
