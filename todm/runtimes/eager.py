"""Torch itself as a runtime: the reference that every exported form must equal.

N, T, F, K, J, S, C, V as in ``decode.steps``.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from todm.core.contract import StreamContract, contract_of
from todm.core.errors import ConfigError, InputError
from todm.core.specs import SubnetSpec
from todm.decode.greedy import Hypothesis, greedy
from todm.decode.steps import TransducerSteps
from todm.decode.streaming import Transcript, padded_features, transcript_of
from todm.decode.tokens import TokenTable
from todm.models.rnnt import Transducer
from todm.models.store import load_subnet
from todm.runtimes.bundle import Precision
from todm.runtimes.recogniser import Recogniser, RecogniserStream, StepsRecogniser


@torch.no_grad()
def exact_folds(
    model: Transducer, spec: SubnetSpec, chunk_frames: int, dtype: torch.dtype
) -> list[Any]:
    """Return every kept mixer's chunk constants, computed in float64 from the parameters on."""
    folds = copy.deepcopy(model.encoder).to("cpu", torch.float64).folds(spec, chunk_frames)
    return [type(fold)(*(part.to(dtype) for part in fold)) for fold in folds]


class EagerSteps(TransducerSteps):
    """Steps of a network in memory: a dense subnet, or a supernet with one of its specs."""

    def __init__(
        self,
        model: Transducer,
        spec: SubnetSpec,
        contract: StreamContract,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = copy.deepcopy(model).to("cpu", dtype).eval()
        self._spec, self._contract, self._dtype = spec, contract, dtype
        self._folds = exact_folds(model, spec, contract.chunk_frames, dtype)

    @property
    def contract(self) -> StreamContract:
        """What the steps take and give."""
        return self._contract

    @torch.inference_mode()
    def encode(
        self, x_NTF: Float[np.ndarray, "N T F"], state_NS: Float[np.ndarray, "N S"]
    ) -> tuple[Float[np.ndarray, "N K J"], Float[np.ndarray, "N S"]]:
        """Advance one chunk."""
        enc_NKD, next_NS = self._model.encoder.step(
            self._tensor(x_NTF), self._tensor(state_NS), self._spec, self._folds
        )
        enc_NKJ = self._model.joiner.from_encoder(enc_NKD, self._spec.joiner_dim)
        return enc_NKJ.numpy(), next_NS.numpy()

    @torch.inference_mode()
    def encode_offline(self, x_NTF: Float[np.ndarray, "N T F"]) -> Float[np.ndarray, "N K J"]:
        """Encode whole recordings by the training form."""
        enc_NKJ: torch.Tensor = self._model.encode(self._tensor(x_NTF), self._spec)
        return enc_NKJ.numpy()

    @torch.inference_mode()
    def predict(self, context_NC: Int64[np.ndarray, "N C"]) -> Float[np.ndarray, "N J"]:
        """Return the projected prediction after the last ids."""
        return self._model.predict(torch.from_numpy(context_NC), self._spec).numpy()

    @torch.inference_mode()
    def join(
        self, enc_NJ: Float[np.ndarray, "N J"], pred_NJ: Float[np.ndarray, "N J"]
    ) -> Float[np.ndarray, "N V"]:
        """Return the logits of one encoder frame."""
        logits_NV: torch.Tensor = self._model.joiner(self._tensor(enc_NJ), self._tensor(pred_NJ))
        return logits_NV.numpy()

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._dtype)


def offline_transcript(
    model: Transducer,
    spec: SubnetSpec,
    samples_S: Float[np.ndarray, " S"],
    contract: StreamContract,
    table: TokenTable | None = None,
) -> Transcript:
    """Decode a recording by the training form, over exactly the frames that a stream decodes."""
    steps = EagerSteps(model, spec, contract)
    enc_1KJ = steps.encode_offline(padded_features(samples_S, contract)[None])
    return transcript_of(greedy(steps, enc_1KJ[0]), contract, table)


class OfflineRecogniser(Recogniser):
    """The training form over whole recordings: a stream only gathers samples until it ends."""

    def __init__(self, steps: EagerSteps, table: TokenTable) -> None:
        self._steps, self.table = steps, table

    @property
    def contract(self) -> StreamContract:
        """How it is fed and read."""
        return self._steps.contract

    def stream(self) -> RecogniserStream:
        """Begin a recording."""
        return _Recording(self)

    def heard(self, samples_S: Float[np.ndarray, " S"]) -> Transcript:
        """Decode a recording, over exactly the frames that a stream decodes."""
        features_1RF = padded_features(samples_S, self.contract)[None]
        enc_1KJ = self._steps.encode_offline(features_1RF)
        return transcript_of(greedy(self._steps, enc_1KJ[0]), self.contract, self.table)


class _Recording(RecogniserStream):
    def __init__(self, recogniser: OfflineRecogniser) -> None:
        self._recogniser = recogniser
        self._parts: list[Float[np.ndarray, " S"]] = [np.zeros(0, np.float32)]
        self._finished: Transcript | None = None

    def accept(self, samples_S: Float[np.ndarray, " S"]) -> None:
        if self._finished is not None:
            raise InputError("the recording is finished; open another one")
        self._parts.append(samples_S)

    def finish(self) -> Transcript:
        if self._finished is None:
            self._finished = self._recogniser.heard(np.concatenate(self._parts))
        return self._finished

    @property
    def transcript(self) -> Transcript:
        """Empty until the end: this form sees the whole recording first."""
        nothing = Hypothesis((), (), ())
        return self._finished or transcript_of(nothing, self._recogniser.contract, None)


def open_offline(path: Path, precision: Precision, threads: int) -> OfflineRecogniser:
    """Load a subnet artifact into torch's training form.

    Raises:
        ConfigError: a precision other than fp32.
    """
    steps, table = _open(path, precision, threads)
    return OfflineRecogniser(steps, table)


def open_eager(path: Path, precision: Precision, threads: int) -> StepsRecogniser:
    """Load a subnet artifact into torch, for comparison with its bundles.

    Raises:
        ConfigError: a precision other than fp32.
    """
    return StepsRecogniser(*_open(path, precision, threads))


def _open(path: Path, precision: Precision, threads: int) -> tuple[EagerSteps, TokenTable]:
    if precision != "fp32":
        raise ConfigError(f"the torch runtime runs fp32 only, not {precision}; open a bundle")
    torch.set_num_threads(threads)
    subnet = load_subnet(path)
    contract = contract_of(subnet.spec, subnet.table.unit)
    return EagerSteps(subnet.model, subnet.spec, contract), subnet.table
