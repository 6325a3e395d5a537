import pytest
from hypothesis import given
from hypothesis import strategies as st

from todm.data.text import normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Please call Stella.", "PLEASE CALL STELLA"),
        ("she couldn\u2019t \u2014 'tis dogs'", "SHE COULDN'T 'TIS DOGS'"),
        ("'quoted' ''twice''", "QUOTED TWICE"),
        ("well-known\tcaf\u00e9, \ufb01ne", "WELL KNOWN CAF\u00c9 FINE"),
        ("cafe\u0301", "CAF\u00c9"),
        ("in 1901 \u00bd", "IN 1901 1 2"),
        ("stra\u00dfe", "STRASSE"),
        (
            "\u4f60\u597d \u0645\u0631\u062d\u0628\u0627",
            "\u4f60\u597d \u0645\u0631\u062d\u0628\u0627",
        ),
        ("a\u2581b <blk>", "A B BLK"),
        (" ... ' '' ?! ", ""),
    ],
)
def test_the_rule_by_example(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text(max_size=40))
def test_idempotent_and_tidy(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())
    assert "\u2581" not in once
