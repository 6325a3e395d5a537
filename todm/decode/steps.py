"""The three steps of a streaming transducer, whatever runs them.

Legend: N streams, T fbank frames of a chunk, F mel bins, K encoder frames of a chunk, J joiner
width, S floats of the state row, C context tokens, V symbols. All arrays are numpy's.
"""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float, Int64

from todm.core.contract import StreamContract


class TransducerSteps(ABC):
    """Encoder, predictor and joiner as pure functions: state in, state out."""

    @property
    @abstractmethod
    def contract(self) -> StreamContract:
        """What the steps take and give."""

    @abstractmethod
    def encode(
        self, x_NTF: Float[np.ndarray, "N T F"], state_NS: Float[np.ndarray, "N S"]
    ) -> tuple[Float[np.ndarray, "N K J"], Float[np.ndarray, "N S"]]:
        """Advance one chunk of ``contract.input_frames`` fbank frames.

        Returns:
            The projected encoder output and the next state; both are the caller's to keep.
        """

    @abstractmethod
    def predict(self, context_NC: Int64[np.ndarray, "N C"]) -> Float[np.ndarray, "N J"]:
        """Return the projected prediction after the last ids, oldest first; -1 is no token."""

    @abstractmethod
    def join(
        self, enc_NJ: Float[np.ndarray, "N J"], pred_NJ: Float[np.ndarray, "N J"]
    ) -> Float[np.ndarray, "N V"]:
        """Return the logits of one encoder frame."""

    def zero_state(self, num_streams: int = 1) -> Float[np.ndarray, "N S"]:
        """Return the state row of a stream's start."""
        return np.zeros((num_streams, self.contract.state_floats), np.float32)

    def start_context(self, num_streams: int = 1) -> Int64[np.ndarray, "N C"]:
        """Return the context of a stream's start: ``[-1, ..., -1, blank]``."""
        context_NC = np.full((num_streams, self.contract.context_size), -1, np.int64)
        context_NC[:, -1] = self.contract.blank_id
        return context_NC
