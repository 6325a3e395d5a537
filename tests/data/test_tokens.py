from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todm.core.data_config import TokenConfig
from todm.core.errors import ConfigError, DataError
from todm.data.bpe import train_bpe
from todm.decode.tokens import TokenTable, build_table, read_tokens_txt, write_tokens_txt

TEXTS = ["ONE TWO THREE", "TWO'S COMPANY", "THREE IS A CROWD"] * 8
CHARS = build_table(TEXTS, TokenConfig(unit="char"))
WORDS = build_table(TEXTS, TokenConfig(unit="word"))


@pytest.mark.parametrize("unit", ["char", "word", "bpe"])
def test_round_trip_and_files(unit: str, tmp_path: Path) -> None:
    config = TokenConfig.parse({"unit": unit, "bpe_size": 40}, where="test")
    model = tmp_path / "bpe.model" if unit == "bpe" else None
    if model is not None:
        train_bpe(TEXTS, config.bpe_size, model)
    table = build_table(TEXTS, config, bpe_model=model)
    assert table.symbols[0] == "<blk>"
    for text in TEXTS:
        ids = table.encode(text, bpe_model=model)
        assert 0 not in ids
        assert table.decode([0, *ids, 0]) == text
    write_tokens_txt(table, tmp_path / "tokens.txt")
    assert read_tokens_txt(tmp_path / "tokens.txt", table.unit) == table
    assert (tmp_path / "tokens.txt").read_text("utf-8").startswith("<blk> 0\n")
    if unit == "bpe":
        assert table.size == 40


@given(st.lists(st.sampled_from(sorted({w for t in TEXTS for w in t.split()})), max_size=6))
def test_any_string_of_known_words_round_trips(words: list[str]) -> None:
    text = " ".join(words)
    for table in (CHARS, WORDS):
        assert table.decode(table.encode(text)) == text


def test_words_are_written_as_sherpa_reads_them() -> None:
    assert "\u2581ONE" in WORDS.symbols
    assert "\u2581" in CHARS.symbols


def test_bpe_training_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_bpe(TEXTS, 40, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: CHARS.encode("ONE Z"), "'Z'"),
        (lambda: WORDS.encode("ONE FOUR"), "'\u2581FOUR'"),
        (lambda: CHARS.decode([99]), "99"),
        (lambda: TokenTable(unit="bpe", symbols=("<blk>", "A")).encode("A"), "bpe.model"),
        (lambda: build_table([], TokenConfig(unit="word")), "no training text"),
        (lambda: train_bpe(TEXTS, 5000, Path("never")), "bpe_size 5000"),
        (lambda: TokenTable.parse({"unit": "char", "symbols": ["A", "B"]}, where="t"), "<blk>"),
        (lambda: TokenTable.parse({"unit": "char", "symbols": ["<blk>", " "]}, where="t"), "white"),
    ],
)
def test_wrong_input_is_named(call: object, says: str) -> None:
    with pytest.raises((DataError, ConfigError)) as caught:
        call()  # type: ignore[operator]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bpe_finds_an_unknown_character(tmp_path: Path) -> None:
    train_bpe(TEXTS, 40, tmp_path / "m")
    table = build_table(TEXTS, TokenConfig(unit="bpe"), bpe_model=tmp_path / "m")
    with pytest.raises(DataError, match="'Z'"):
        table.encode("ONE Z", bpe_model=tmp_path / "m")


@pytest.mark.parametrize("lines", ["A 0\nB 2\n", "<blk> 0\nA\n", "<blk> 0\nA 1 1\n"])
def test_damaged_tokens_txt(lines: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text(lines)
    with pytest.raises((DataError, ConfigError), match="tokens"):
        read_tokens_txt(path, "char")


def test_a_symbol_that_sherpa_swallows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"<unk> may not be a symbol: sherpa") as caught:
        TokenTable.parse({"unit": "word", "symbols": ["<blk>", "<unk>", "A"]}, where="table.json")
    assert "\n" not in str(caught.value)
    TokenTable(unit="word", symbols=("<blk>", "\u2581<unk>"))  # a word of that spelling is none
