"""What every runtime offers: streams over one loaded recogniser. S samples at 16 kHz."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float

from todm.core.contract import StreamContract
from todm.decode.steps import TransducerSteps
from todm.decode.streaming import StreamingDecoder, Transcript
from todm.decode.tokens import TokenTable


class RecogniserStream(ABC):
    """One stream of audio."""

    @abstractmethod
    def accept(self, samples_S: Float[np.ndarray, " S"]) -> None:
        """Take the next samples and decode every chunk that they complete."""

    @abstractmethod
    def finish(self) -> Transcript:
        """End the stream: append the contract's silence, decode the rest."""

    @property
    @abstractmethod
    def transcript(self) -> Transcript:
        """What was decoded so far."""


class Recogniser(ABC):
    """A loaded recogniser."""

    @property
    @abstractmethod
    def contract(self) -> StreamContract:
        """How it is fed, stepped and read."""

    @abstractmethod
    def stream(self) -> RecogniserStream:
        """Begin a stream; any number may be open, each with its own state."""

    def transcribe(self, samples_S: Float[np.ndarray, " S"]) -> Transcript:
        """Decode a whole recording as one stream."""
        stream = self.stream()
        stream.accept(samples_S)
        return stream.finish()


class StepsRecogniser(Recogniser):
    """A recogniser whose runtime runs the three steps; todm searches."""

    def __init__(self, steps: TransducerSteps, table: TokenTable) -> None:
        self.steps, self.table = steps, table

    @property
    def contract(self) -> StreamContract:
        """How it is fed, stepped and read."""
        return self.steps.contract

    def stream(self) -> RecogniserStream:
        """Begin a stream."""
        return _StepsStream(StreamingDecoder(self.steps, self.table))


class _StepsStream(RecogniserStream):
    def __init__(self, decoder: StreamingDecoder) -> None:
        self._decoder = decoder

    def accept(self, samples_S: Float[np.ndarray, " S"]) -> None:
        self._decoder.accept(samples_S)

    def finish(self) -> Transcript:
        return self._decoder.finish()

    @property
    def transcript(self) -> Transcript:
        return self._decoder.transcript
