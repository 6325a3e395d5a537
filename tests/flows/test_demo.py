"""What the demo ships where a device's own precision is refused."""

from pathlib import Path

import pytest

from todm.core.errors import GateError
from todm.core.profile import load_profile
from todm.flows import demo


def refusing(refused: set[str], asked: list[tuple[str, ...]]):
    """Return an export whose gate refuses precisions."""

    def export(subnet, out, *, profile, corpus, config=None):
        wanted = (profile.numeric,) if config is None else config.precisions
        asked.append(wanted)
        if refused & set(wanted):
            raise GateError("the WER by up to 0.67 points")

    return export


def test_a_net_whose_int8_is_refused_ships_float32_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo, "export_subnet", refusing({"int8"}, asked))
    demo.export_or_float(tmp_path, tmp_path, load_profile("browser_tab"), tmp_path)
    assert asked == [("int8",), ("fp32",)]
    assert "browser_tab ships float32: the WER by up to 0.67 points" in capsys.readouterr().err


def test_a_refused_float32_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("browser_tab", "mcu_arm"):
        monkeypatch.setattr(demo, "export_subnet", refusing({"int8", "fp32"}, []))
        with pytest.raises(GateError):
            demo.export_or_float(tmp_path, tmp_path, load_profile(name), tmp_path)
