"""Steps in plain numpy whose tokens are easy to foretell."""

import numpy as np

from todm.core.contract import StatePart, StreamContract
from todm.decode.steps import TransducerSteps


def contract(chunk_frames=4, tail_padding_ms=560):
    return StreamContract(
        chunk_frames=chunk_frames,
        state=(StatePart(name="count", offset=0, shape=(1,)),),
        joiner_dim=2,
        vocab_size=4,
        context_size=2,
        token_unit="char",
        tail_padding_ms=tail_padding_ms,
    )


class LoudnessSteps(TransducerSteps):
    """Says 1 on the frame where sound begins and 2 on the one where it ends.

    The encoder's output is (loud, was loud); the state remembers the last frame's loudness.
    """

    def __init__(self, chunk_frames=4, tail_padding_ms=560):
        self._contract = contract(chunk_frames, tail_padding_ms)
        self.contexts = []
        self.chunk_shapes = []

    @property
    def contract(self):
        return self._contract

    def encode(self, x_NTF, state_NS):
        self.chunk_shapes.append(x_NTF.shape)
        frames_NK = x_NTF.mean(2).reshape(x_NTF.shape[0], -1, 4).max(2)
        loud_NK = (frames_NK > -10.0).astype(np.float32)
        before_NK = np.concatenate([state_NS, loud_NK[:, :-1]], 1)
        return np.stack([loud_NK, before_NK], 2).astype(np.float32), loud_NK[:, -1:]

    def predict(self, context_NC):
        self.contexts.append(context_NC.tolist())
        return np.zeros((context_NC.shape[0], 2), np.float32)

    def join(self, enc_NJ, pred_NJ):  # noqa: ARG002
        loud_N, before_N = enc_NJ.T
        begin_N, end_N = loud_N * (1 - before_N), before_N * (1 - loud_N)
        rest_N = 1 - begin_N - end_N
        return np.stack([3 * rest_N, 5 * begin_N, 4 * end_N, 0 * loud_N], 1)
