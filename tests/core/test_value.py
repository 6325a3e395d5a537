"""Where two values differ, by dotted key."""

from todm.core.config import OptimConfig
from todm.core.value import differences
from todm.recipes import recipe


def test_differences_name_the_key_and_both_sides() -> None:
    one = recipe("tiny", 7)
    other = one.model_copy(update={"seed": 4, "optim": OptimConfig(lr=0.5, betas=(0.8, 0.9))})
    assert differences(one, one) == {}
    assert differences(one, other) == {
        "seed": (0, 4),
        "optim.lr": (0.03, 0.5),
        "optim.betas": ([0.9, 0.98], [0.8, 0.9]),
    }


def test_a_part_that_one_side_lacks_is_none() -> None:
    from todm.core.data_config import PrepareConfig, SourceConfig, StringConfig

    plain = PrepareConfig(name="x", source=SourceConfig(corpus="fsdd"))
    strings = plain.model_copy(update={"strings": StringConfig()})
    found = differences(plain, strings)
    assert found["strings.min_words"] == (None, 1)
