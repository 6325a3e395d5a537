"""From emitted tokens to words with times."""

from todm.core.contract import StreamContract
from todm.core.value import Value
from todm.decode.streaming import Transcript
from todm.decode.tokens import SPACE, TokenTable


class TimedWord(Value):
    """A recognised word."""

    text: str
    start_s: float
    """Start of the encoder frame of the word's first token, in seconds of audio. The network
    emits after it hears, so this lies behind the sound's true beginning."""
    complete_s: float
    """End of the encoder frame of the word's last token, or with lookahead of the block of frames
    that the frame sees: how much audio had to be heard."""


def timed_words(
    transcript: Transcript, table: TokenTable, contract: StreamContract
) -> tuple[TimedWord, ...]:
    """Group a transcript's tokens into words: a word ends where a symbol carries a space.

    The words are those of ``transcript.text.split()``, in order.
    """
    frame_s = contract.subsampling * contract.features.frame_shift_ms / 1000
    block_frames = contract.lookahead_frames + 1
    words: list[TimedWord] = []
    text, first, last = "", 0, 0
    for token, frame in zip(transcript.ids, transcript.frames, strict=True):
        for char in table.symbols[token] if token != contract.blank_id else "":
            if char != SPACE:
                first, last = (first if text else frame), frame
                text += char
            elif text:
                words.append(_word(text, (first, last), frame_s, block_frames))
                text = ""
    if text:
        words.append(_word(text, (first, last), frame_s, block_frames))
    return tuple(words)


def _word(text: str, frames: tuple[int, int], frame_s: float, block_frames: int) -> TimedWord:
    first, last = frames
    heard_frames = (last // block_frames + 1) * block_frames
    return TimedWord(
        text=text,
        start_s=round(first * frame_s, 3),
        complete_s=round(heard_frames * frame_s, 3),
    )
