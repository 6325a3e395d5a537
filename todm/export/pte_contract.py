"""The streaming contract inside a .pte: a method that returns its figures in a fixed order.

A program knows the shapes of its methods and nothing of features, blank or tail, so a device that
has the program alone could not run it. ``runtimes/csrc/runner.cpp`` reads them in this order.
"""

import torch
from torch import Tensor

from todm.core.contract import StreamContract

METHOD = "todm_contract"
VERSION = 1


def contract_figures(contract: StreamContract) -> dict[str, float]:
    """Return the figures by name, in the order of the method's tensor."""
    features = contract.features
    return {
        "version": VERSION,
        "input_frames": contract.input_frames,
        "subsampling": contract.subsampling,
        "state_floats": contract.state_floats,
        "joiner_dim": contract.joiner_dim,
        "vocab_size": contract.vocab_size,
        "context_size": contract.context_size,
        "blank_id": contract.blank_id,
        "tail_padding_ms": contract.tail_padding_ms,
        "sample_rate_hz": features.sample_rate_hz,
        "num_bins": features.num_bins,
        "frame_shift_ms": features.frame_shift_ms,
        "frame_length_ms": features.frame_length_ms,
        "low_freq_hz": features.low_freq_hz,
        "high_freq_hz": features.high_freq_hz,
        "preemphasis": features.preemphasis,
    }


def contract_tensor(contract: StreamContract) -> Tensor:
    """Return the figures as the method does; float32 holds every integer below 2^24."""
    return torch.tensor(list(contract_figures(contract).values()), dtype=torch.float32)
