"""A recogniser in another process that speaks JSON: Node or a browser page.

Requests: ``{"op": "stream"}`` gives a number, ``accept`` takes base64 of little-endian float32
samples, ``finish`` and ``transcript`` give what was heard. An answer with ``error`` is an error.
"""

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from todm.core.contract import StreamContract
from todm.core.errors import ArtifactError, InputError
from todm.decode.greedy import Hypothesis
from todm.decode.streaming import Transcript, checked_samples, transcript_of
from todm.decode.tokens import TokenTable
from todm.runtimes.bundle import Bundle
from todm.runtimes.recogniser import Recogniser, RecogniserStream

Reader = Callable[[dict[str, Any]], Hypothesis]
"""Reads an answer's tokens."""
LIMIT_S = 300.0
"""A process that answers no later than this is alive."""


class Channel(ABC):
    """A line to the process."""

    @abstractmethod
    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises:
            ArtifactError: the process is gone or does not answer.
        """


class RemoteRecogniser(Recogniser):
    """A bundle that another process runs."""

    def __init__(self, bundle: Bundle, channel: Channel, read: Reader) -> None:
        self._bundle, self._channel, self.read = bundle, channel, read

    @property
    def contract(self) -> StreamContract:
        """How it is fed, stepped and read."""
        return self._bundle.contract

    @property
    def table(self) -> TokenTable:
        """The tokens."""
        return self._bundle.table

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask the process.

        Raises:
            ArtifactError: it cannot do that; its own line says why.
        """
        answer = self._channel.ask(request)
        if "error" in answer:
            raise ArtifactError(f"{self._bundle.artifact.path}: {answer['error']}")
        return answer

    def stream(self) -> "RemoteStream":
        """Begin a stream."""
        return RemoteStream(self, self.ask(op="stream")["stream"])


class RemoteStream(RecogniserStream):
    """One stream of a remote recogniser."""

    def __init__(self, recogniser: RemoteRecogniser, number: int) -> None:
        self._recogniser, self._number = recogniser, number
        self._finished: Transcript | None = None

    def accept(self, samples_S: Float[np.ndarray, " S"]) -> None:
        """Send the next samples; every chunk that they complete is decoded there."""
        if self._finished is not None:
            raise InputError("the stream is finished; open another one")
        data = checked_samples(samples_S).astype("<f4").tobytes()
        samples = base64.b64encode(data).decode("ascii")
        self._recogniser.ask(op="accept", stream=self._number, samples=samples)

    def finish(self) -> Transcript:
        """End the stream: the process appends the contract's silence and decodes the rest."""
        if self._finished is None:
            self._finished = self._ask("finish")
        return self._finished

    @property
    def transcript(self) -> Transcript:
        """What was decoded so far."""
        return self._finished or self._ask("transcript")

    def _ask(self, op: str) -> Transcript:
        answer = self._recogniser.ask(op=op, stream=self._number)
        hypothesis = self._recogniser.read(answer)
        return transcript_of(hypothesis, self._recogniser.contract, self._recogniser.table)
