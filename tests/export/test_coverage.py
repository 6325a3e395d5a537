"""The gate on what a delegate leaves to portable code."""

import pytest

from todm.core.errors import GateError
from todm.export.coverage import Delegation, require_coverage


def method(delegated, portable, delegates=1):
    left = sum(portable.values())
    return Delegation(
        delegated_ops=delegated, portable_ops=left, delegates=delegates, portable=portable
    )


def test_a_well_covered_method_passes_silently():
    found = method(163, {"aten_expand_copy_default": 18, "aten_native_layer_norm_default": 7})
    assert require_coverage({"encoder": found}, "XNNPACK") == []


@pytest.mark.parametrize(
    "left",
    [{"aten_addmm_default": 2}, {"aten_convolution_default": 1}, {"aten_bmm_default": 3}],
)
def test_products_in_portable_code_are_refused(left):
    with pytest.raises(GateError, match=r"'encoder': XNNPACK leaves \d (addmm|conv|bmm)"):
        require_coverage({"encoder": method(300, left)}, "XNNPACK")


def test_nothing_delegated_is_refused():
    with pytest.raises(GateError, match="leaves everything"):
        require_coverage({"joiner": method(0, {"aten_tanh_default": 1}, delegates=0)}, "XNNPACK")


def test_many_small_pieces_are_warned_of_and_then_refused():
    warned = require_coverage({"decoder": method(4, {"aten_embedding_default": 5})}, "XNNPACK")
    assert len(warned) == 1
    assert "44% of 'decoder' (5 left)" in warned[0]
    with pytest.raises(GateError, match="at least 30%"):
        require_coverage({"decoder": method(1, {"aten_embedding_default": 5})}, "XNNPACK")


def test_what_need_not_keep_pace_is_warned_of():
    found = {"forecast": method(30, {"aten_convolution_default": 1})}
    assert len(require_coverage(found, "XNNPACK", paced=False)) == 1
    with pytest.raises(GateError, match="leaves everything"):
        require_coverage({"forecast": method(0, {"a": 1}, delegates=0)}, "XNNPACK", paced=False)
