"""Programs for accelerators: exported where the tools are, a clear word where they are not."""

import importlib.util
import sys

import pytest
from tiny_bundle import random_model, recordings

from todm.core.contract import contract_of
from todm.core.errors import MissingExtraError
from todm.decode.streaming import padded_features
from todm.export.device_programs import export_device_program


def exported(accelerator, folder):
    model = random_model()
    contract = contract_of(model.spec, "char")
    speech = [padded_features(recordings()[0], contract)]
    return export_device_program(model, contract, accelerator, speech, folder)


@pytest.mark.parametrize(
    ("accelerator", "package", "extra"),
    [("coreml", "coremltools", "coreml"), ("ethos_u55", "ethosu", "ethosu")],
)
def test_missing_tools_are_named_with_their_extra(
    tmp_path, monkeypatch, accelerator, package, extra
):
    for name in (package, f"{package}.vela"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"todm\[{extra}\]"):
        exported(accelerator, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("coremltools") is None, reason="needs pip install 'todm[coreml]'"
)
def test_core_ml_takes_every_operator(tmp_path):
    made = exported("coreml", tmp_path)
    assert (made.label, made.numeric) == ("exported", "float32")
    assert {name: d.portable_ops for name, d in made.delegation.items()} == {
        "encoder": 0, "decoder": 0, "joiner": 0,
    }  # fmt: skip
    assert (tmp_path / "model.coreml.pte").stat().st_size == made.bytes


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None, reason="needs pip install 'todm[ethosu]'"
)
def test_ethos_takes_the_products(tmp_path):
    made = exported("ethos_u55", tmp_path)
    assert made.delegation["encoder"].heavy == {}
    assert (tmp_path / "model.ethos_u55.pte").stat().st_size == made.bytes
