"""Backends are opened by name; what is not installed says so with its own exit code."""

import sys
import types

import pytest
import torch
from torch import Tensor

from todm.core.config import LossConfig, PrunedConfig
from todm.core.errors import ConfigError, MissingExtraError
from todm.losses.backends import open_backend
from todm.losses.transducer import transducer_loss


def test_the_native_backend_has_every_form() -> None:
    backend = open_backend("native")
    assert backend.full is transducer_loss
    assert backend.pruned is not None
    assert backend.simple is not None


@pytest.mark.parametrize("name", ["k2", "torchaudio"])
def test_a_missing_package_names_its_cure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"todm.losses.peer_{name}", raising=False)
    with pytest.raises(MissingExtraError, match=rf"todm\[{name}\]") as caught:
        open_backend(name)  # type: ignore[arg-type]
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", ["k2", "torchaudio"])
def test_losses_of_another_package_run_in_float32(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autocast would round the products inside them to eight bits of mantissa."""
    peer = types.ModuleType(f"todm.losses.peer_{name}")

    def loss(x_BI: Tensor, **_: object) -> tuple[Tensor, Tensor]:
        return x_BI @ x_BI.T, torch.ones(2, dtype=torch.bool)

    for form in ("full_loss", "pruned_loss", "simple_loss"):
        setattr(peer, form, loss)
    monkeypatch.setitem(sys.modules, peer.__name__, peer)
    backend = open_backend(name)  # type: ignore[arg-type]
    x_BI = torch.randn(2, 50)
    with torch.autocast("cpu", torch.bfloat16):
        made = [backend.full(x_BI).loss_B]
        if backend.pruned is not None and backend.simple is not None:
            made += [backend.pruned(x_BI).loss_B, backend.simple(x_BI)[0]]
    for found in made:
        assert torch.equal(found, x_BI @ x_BI.T)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"backend": "torchaudio", "form": "pruned"}, "form pruned"),
        ({"backend": "torchaudio", "topology": "one_symbol"}, "one_symbol"),
        ({"backend": "torchaudio", "delay_penalty": 0.1}, "delay_penalty"),
        ({"backend": "k2", "fastemit": 0.1}, "fastemit"),
        ({"pruned": {"lm_scale": 0.7, "am_scale": 0.4}}, "at most 1"),
        ({"pruned": {"s_range": 1}}, "s_range"),
    ],
    ids=str,
)
def test_what_a_backend_cannot_do_is_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        LossConfig.parse(wrong, where="config")


def test_what_k2_can_do_is_allowed() -> None:
    pruned = PrunedConfig(s_range=4)
    LossConfig(backend="k2", form="pruned", pruned=pruned, topology="one_symbol", delay_penalty=0.1)
