"""What stock sherpa-onnx reads beside the graphs: metadata keys and ``tokens.txt``.

sherpa-onnx's ``lstm`` model type carries two float states without knowing their meaning (its C++
class concatenates them on axis 1 and fills them with zeros). So ``h`` is our
whole state row, (1, N, state floats), and ``c`` an unused (1, N, 1). A missing key ends sherpa's
process, hence ``REQUIRED``, which todm checks before it lets sherpa load anything.
"""

from todm.core.contract import StreamContract

UNUSED_C_WIDTH = 1


def encoder_metadata(contract: StreamContract) -> dict[str, str]:
    """Return the metadata of ``encoder.onnx``; ``todm_`` keys are ours."""
    return {
        "model_type": "lstm",
        "num_encoder_layers": "1",
        "T": str(contract.input_frames),
        "decode_chunk_len": str(contract.input_frames),
        "d_model": str(contract.state_floats),
        "rnn_hidden_size": str(UNUSED_C_WIDTH),
        "todm_chunk_frames": str(contract.chunk_frames),
        "todm_lookahead_frames": str(contract.lookahead_frames),
        "todm_subsampling": str(contract.subsampling),
        "todm_tail_padding_ms": str(contract.tail_padding_ms),
        "todm_token_unit": contract.token_unit,
    }


def decoder_metadata(contract: StreamContract) -> dict[str, str]:
    """Return the metadata of ``decoder.onnx``."""
    return {
        "context_size": str(contract.context_size),
        "vocab_size": str(contract.vocab_size),
    }


def metadata(contract: StreamContract) -> dict[str, dict[str, str]]:
    """Return the metadata of every part; the joiner needs none."""
    return {
        "encoder": encoder_metadata(contract),
        "decoder": decoder_metadata(contract),
        "joiner": {},
    }
