"""Greedy transducer search over abstract steps, at most one symbol per encoder frame.

That limit, the blank's id and the start context are those of stock sherpa-onnx, so every runtime
gives the same tokens. J joiner width, K encoder frames of a chunk, V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from todm.decode.steps import TransducerSteps


@dataclass(frozen=True)
class Hypothesis:
    """Tokens with the encoder frame of each, and how clear every frame's decision was."""

    ids: tuple[int, ...]
    frames: tuple[int, ...]
    """Encoder frame (40 ms each) of each token."""
    margins: tuple[float, ...]
    """Best minus second-best logit of every encoder frame; empty where a runtime hides it."""


class GreedyStream:
    """Greedy search of one stream; ``advance`` it with each chunk's encoder output."""

    def __init__(self, steps: TransducerSteps) -> None:
        self._steps = steps
        self.reset()

    def reset(self) -> None:
        """Forget everything: the contract's start context, no token, frame 0."""
        self._context_1C = self._steps.start_context()
        self._pred_1J = self._steps.predict(self._context_1C)
        self._ids: list[int] = []
        self._frames: list[int] = []
        self._margins: list[float] = []

    @property
    def num_frames(self) -> int:
        """Encoder frames decoded so far."""
        return len(self._margins)

    def advance(self, enc_KJ: Float[np.ndarray, "K J"]) -> None:
        """Decode the next encoder frames."""
        for enc_J in enc_KJ:
            logits_V = self._steps.join(enc_J[None], self._pred_1J)[0]
            best = int(logits_V.argmax())
            second, first = np.partition(logits_V, -2)[-2:]
            self._margins.append(float(first) - float(second))
            if best != self._steps.contract.blank_id:
                self._emit(best)

    def _emit(self, token: int) -> None:
        self._ids.append(token)
        self._frames.append(self.num_frames - 1)
        moved_1C = np.roll(self._context_1C, -1, axis=1)
        moved_1C[:, -1] = token
        self._context_1C = moved_1C
        self._pred_1J = self._steps.predict(moved_1C)

    @property
    def hypothesis(self) -> Hypothesis:
        """What was decoded so far."""
        return Hypothesis(tuple(self._ids), tuple(self._frames), tuple(self._margins))


def greedy(steps: TransducerSteps, enc_KJ: Float[np.ndarray, "K J"]) -> Hypothesis:
    """Decode a whole recording's encoder output."""
    stream = GreedyStream(steps)
    stream.advance(enc_KJ)
    return stream.hypothesis


@dataclass(frozen=True)
class Mismatch:
    """Where two runtimes first decided differently, and how clear each decision was."""

    frame: int
    """Encoder frame."""
    id_a: int
    """Token of the first hypothesis there (the blank if none)."""
    id_b: int
    margin_a: float | None
    margin_b: float | None

    def __str__(self) -> str:
        margins = ", ".join(
            "unknown" if margin is None else f"{margin:.3g}"
            for margin in (self.margin_a, self.margin_b)
        )
        return f"frame {self.frame}: {self.id_a} against {self.id_b}, logit margins {margins}"


def first_mismatch(a: Hypothesis, b: Hypothesis, *, blank_id: int = 0) -> Mismatch | None:
    """Return the first frame at which two hypotheses differ, or None when they are equal."""
    at_a = dict(zip(a.frames, a.ids, strict=True))
    at_b = dict(zip(b.frames, b.ids, strict=True))
    for frame in sorted(at_a.keys() | at_b.keys()):
        ids = at_a.get(frame, blank_id), at_b.get(frame, blank_id)
        if ids[0] != ids[1]:
            margins = _margin(a.margins, frame), _margin(b.margins, frame)
            return Mismatch(frame, *ids, *margins)
    return None


def _margin(margins: Sequence[float], frame: int) -> float | None:
    return margins[frame] if frame < len(margins) else None
