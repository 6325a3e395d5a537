"""A runtime without a network: it says ONE at each rise of loudness, TWO at each second one.

Also a script: ``python fake_runtime.py measure|tokens`` is the measurement or token process with
that runtime under the name ``fake``, and a broken one under ``broken``.
"""

import os
import sys
from pathlib import Path

import numpy as np

from todm.core.artifact import write_artifact
from todm.core.contract import StreamContract, contract_of
from todm.core.mixer_specs import MHSSMSpec
from todm.core.profile import Budget, DeviceProfile
from todm.core.specs import BlockSpec, FrontSpec, PredictorSpec, SubnetSpec
from todm.decode.steps import TransducerSteps
from todm.decode.tokens import BLANK, TokenTable, write_tokens_txt
from todm.runtimes import RUNTIMES
from todm.runtimes.bundle import open_bundle
from todm.runtimes.recogniser import StepsRecogniser

LOUD = -8.0
"""Mean log-mel above which a frame is loud."""
SPEC = SubnetSpec(
    front=FrontSpec(feature_dim=80, channels=(2, 2)),
    model_dim=8,
    blocks=(
        BlockSpec(source_layer=0, ffn_dim=8, mixer=MHSSMSpec(num_heads=2, head_dim=2, state_dim=2)),
    ),
    predictor=PredictorSpec(embed_dim=4),
    joiner_dim=4,
    vocab_size=3,
    chunk_frames=4,
)
TABLE = TokenTable(unit="word", symbols=(BLANK, "\u2581ONE", "\u2581TWO"))


class FakeSteps(TransducerSteps):
    """The state's first float is the loudness before, its second the parity of the rises."""

    def __init__(self, contract: StreamContract) -> None:
        self._contract = contract

    @property
    def contract(self) -> StreamContract:
        return self._contract

    def encode(self, x_NTF, state_NS):
        out_NKJ = np.zeros((1, self._contract.chunk_frames, self._contract.joiner_dim), np.float32)
        next_NS = state_NS.copy()
        for k in range(self._contract.chunk_frames):
            loud = float(x_NTF[0, 4 * k : 4 * k + 4].mean() > LOUD)
            rise = loud and not next_NS[0, 0]
            out_NKJ[0, k, 1 + int(next_NS[0, 1]) if rise else 0] = 1.0
            if rise:
                next_NS[0, 1] = 1.0 - next_NS[0, 1]
            next_NS[0, 0] = loud
        return out_NKJ, next_NS

    def predict(self, context_NC):
        return np.zeros((context_NC.shape[0], self._contract.joiner_dim), np.float32)

    def join(self, enc_NJ, pred_NJ):
        return enc_NJ[:, : self._contract.vocab_size] + pred_NJ[:, : self._contract.vocab_size]


def open_fake(path: Path, precision: str, threads: int) -> StepsRecogniser:
    bundle = open_bundle(path)
    return StepsRecogniser(FakeSteps(bundle.contract), bundle.table)


def open_broken(path: Path, precision: str, threads: int) -> StepsRecogniser:
    os._exit(255)


def write_bundle(path: Path, files: dict[str, str] | None = None) -> Path:
    """Write a bundle whose graphs are empty files."""
    with write_artifact(path, kind="bundle") as draft:
        contract_of(SPEC, "word").write_json(draft.path / "contract.json")
        SPEC.write_json(draft.path / "spec.json")
        TABLE.write_json(draft.path / "token_table.json")
        write_tokens_txt(TABLE, draft.path / "tokens.txt")
        for name in ("encoder.onnx", "decoder.onnx", "joiner.onnx"):
            (draft.path / name).write_bytes(b"graph")
        for name, text in (files or {}).items():
            (draft.path / name).write_text(text, "utf-8")
    return path


def profile(**budgets: float) -> DeviceProfile:
    """Return a profile of this host with these budgets."""
    limits = {n: Budget(limit=v, origin="chosen", source="test") for n, v in budgets.items()}
    return DeviceProfile(
        name="host",
        title="Host",
        runtime="onnxruntime",
        runtime_version="1",
        arch="any",
        threads=1,
        chunk_frames=4,
        numeric="fp32",
        is_this_host=True,
        budgets=limits,
    )


def bursts(*starts_s: float, length_s: float = 2.0) -> np.ndarray:
    """Return seeded noise bursts of 0.2 s over near silence, 16 kHz."""
    generator = np.random.default_rng(0)
    samples_S = 1e-5 * generator.standard_normal(int(16000 * length_s)).astype(np.float32)
    for start_s in starts_s:
        first = int(16000 * start_s)
        samples_S[first : first + 3200] += 0.2 * generator.standard_normal(3200)
    return samples_S.astype(np.float32)


FAKES = {"fake": "fake_runtime:open_fake", "broken": "fake_runtime:open_broken"}

if __name__ == "__main__":
    from todm.bench import measure, tokens

    RUNTIMES |= FAKES

    # In this process every runtime of a bundle is the fake one.
    RUNTIMES |= {name: RUNTIMES["fake"] for name in ("ort", "sherpa", "executorch")}
    sys.exit({"measure": measure, "tokens": tokens}[sys.argv[1]].main())
