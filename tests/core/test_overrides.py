"""Dotted overrides: what is set, what is refused, and what the refusal says."""

import pytest
from pydantic import Field

from todm.core.data_config import PrepareConfig, SourceConfig
from todm.core.errors import ConfigError
from todm.core.overrides import apply_overrides
from todm.core.profile import Budget
from todm.core.value import Value
from todm.recipes import recipe


class Inner(Value):
    rate: float = 0.1
    name: str | None = None
    pair: tuple[int, int] = (1, 2)


class Outer(Value):
    label: str = "a"
    count: int = 1
    inner: Inner = Inner()
    maybe: Inner | None = None
    row: tuple[Inner, ...] = (Inner(), Inner())
    budgets: dict[str, Budget] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("text", "read", "expected"),
    [
        ("count=3", lambda v: v.count, 3),
        ("label=7", lambda v: v.label, "7"),
        ("label=true", lambda v: v.label, "true"),
        ("label=a=b", lambda v: v.label, "a=b"),
        ('label="quoted"', lambda v: v.label, "quoted"),
        ("inner.rate=1e-3", lambda v: v.inner.rate, 1e-3),
        ("inner.rate=0", lambda v: v.inner.rate, 0.0),
        ("inner.name=null", lambda v: v.inner.name, None),
        ("inner.pair=[3,4]", lambda v: v.inner.pair, (3, 4)),
        ("inner.pair.1=9", lambda v: v.inner.pair, (1, 9)),
        ("maybe.rate=0.5", lambda v: v.maybe, Inner(rate=0.5)),
        ("row.1.rate=0.7", lambda v: [i.rate for i in v.row], [0.1, 0.7]),
        ('inner={"rate": 0.3}', lambda v: v.inner, Inner(rate=0.3)),
    ],
)
def test_sets_one_key(text, read, expected):
    assert read(apply_overrides(Outer(), [text])) == expected


def test_overrides_apply_in_order_and_leave_the_rest():
    changed = apply_overrides(Outer(), ["count=2", "maybe.rate=1", "maybe.pair.0=5", "count=4"])
    assert changed == Outer(count=4, maybe=Inner(rate=1.0, pair=(5, 2)))


def test_no_overrides_is_the_same_value():
    value = Outer()
    assert apply_overrides(value, []) is value


def test_a_mapping_takes_known_keys_only():
    value = Outer(budgets={"rtf": Budget(limit=1.0, origin="chosen", source="test")})
    assert apply_overrides(value, ["budgets.rtf.limit=0.5"]).budgets["rtf"].limit == 0.5
    with pytest.raises(ConfigError, match=r"unknown key 'rft' in budgets; known: rtf"):
        apply_overrides(value, ["budgets.rft.limit=0.5"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("inner..rate=3", "write it as key=value"),
        ("cuont=3", "unknown key 'cuont'; known: label, count, inner, maybe, row, budgets"),
        ("inner.rte=3", "unknown key 'rte' in inner; known: rate, name, pair"),
        ("maybe.rte=3", "unknown key 'rte' in maybe; known: rate, name, pair"),
        ("row.2.rate=3", "unknown key '2' in row; known: 0, 1"),
        ("count.x=3", "count has no keys inside"),
        ("count=many", "--set count=many: count: .*integer"),
        ("inner.pair=[1]", "--set inner.pair"),
    ],
)
def test_refuses_in_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        apply_overrides(Outer(), [text])
    assert "\n" not in str(caught.value)


def test_a_real_config_with_an_optional_part():
    config = PrepareConfig(name="x", source=SourceConfig(corpus="fsdd"))
    changed = apply_overrides(config, ["strings.max_words=3", "tokens.unit=word", "seed=4"])
    assert changed.strings is not None
    assert (changed.strings.max_words, changed.tokens.unit, changed.seed) == (3, "word", 4)


def test_a_star_names_every_element():
    config = recipe("tiny", 7)
    changed = apply_overrides(config, ["space.largest.blocks.*.mixer.gating=pairs"])
    forms = [block.mixer.gating for block in changed.space.largest.blocks]
    assert forms == ["pairs"] * 3
    with pytest.raises(ConfigError, match="the layers of the largest net must be alike"):
        apply_overrides(config, ["space.largest.blocks.0.mixer.gating=pairs"])
