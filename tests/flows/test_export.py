"""The flow from a subnet to a bundle: what it says before it starts."""

import pytest

from todm.core.artifact import load_artifact, write_artifact
from todm.core.errors import ConfigError, GateError
from todm.core.profile import load_profile
from todm.flows import export as flow
from todm.flows.demo import shipped_precision
from todm.flows.export import export_or_float, export_subnet


def test_a_subnet_of_no_device_asks_for_one(tmp_path):
    with write_artifact(tmp_path / "net", kind="subnet") as draft:
        (draft.path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="cut for no device; give one with --device"):
        export_subnet(tmp_path / "net", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def asked(monkeypatch):
    """The precisions of every export asked for; their gate refuses those in ``refused``."""

    class Asked(list):
        refused = frozenset({"int8"})

    found = Asked()

    def export(subnet, out, *, target, profile, corpus, config):
        found.append(config.precisions)
        if found.refused & set(config.precisions or (profile.numeric,)):
            raise GateError("the WER by up to 0.67 points")

    monkeypatch.setattr(flow, "export_subnet", export)
    return found


def test_a_net_whose_int8_is_refused_ships_float32_and_says_so(asked, capsys, tmp_path):
    export_or_float(tmp_path, tmp_path, profile=load_profile("browser_tab"), corpus=tmp_path)
    assert asked == [None, ("fp32",)]
    assert "browser_tab ships float32: the WER by up to 0.67 points" in capsys.readouterr().err


@pytest.mark.parametrize(("device", "tries"), [("browser_tab", 2), ("mcu_arm", 1)])
def test_a_refused_float32_is_an_error(asked, tmp_path, device, tries):
    asked.refused = frozenset({"int8", "fp32"})
    with pytest.raises(GateError):
        export_or_float(tmp_path, tmp_path, profile=load_profile(device), corpus=tmp_path)
    assert len(asked) == tries


@pytest.mark.parametrize(
    ("device", "precisions", "want"),
    [
        ("browser_tab", ("fp32", "int8"), "int8"),
        ("browser_tab", ("fp32",), "fp32"),
        ("mcu_arm", (), "fp32"),
    ],
)
def test_what_ships_is_what_the_bundle_holds(tmp_path, device, precisions, want):
    with write_artifact(tmp_path / "bundle", kind="bundle") as draft:
        for precision in precisions:
            middle = "" if precision == "fp32" else f".{precision}"
            for part in ("encoder", "decoder", "joiner"):
                (draft.path / f"{part}{middle}.onnx").write_bytes(b"")
        (draft.path / "model.pte").write_bytes(b"")
        (draft.path / "tokens.txt").write_bytes(b"")
    bundle = load_artifact(tmp_path / "bundle", "bundle")
    assert shipped_precision(bundle, load_profile(device)) == want
