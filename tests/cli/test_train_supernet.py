"""``todm train-supernet``: which configuration the options make."""

from pathlib import Path

import pytest

import todm.cli
import todm.data.manifest
import todm.train.run
from todm.core.config import SupernetConfig
from todm.recipes import recipe


class ChosenError(Exception):
    """Stands for the training; holds its configuration."""

    def __init__(self, config: SupernetConfig) -> None:
        super().__init__()
        self.config = config


def chosen(monkeypatch: pytest.MonkeyPatch, *options: str) -> SupernetConfig:
    """Return what would be trained."""

    def stop(config: SupernetConfig, *_: Path | None) -> None:
        raise ChosenError(config)

    class Opened:
        class table:  # noqa: N801
            size = 12

    monkeypatch.setattr(todm.train.run, "run", stop)
    monkeypatch.setattr(todm.data.manifest, "open_corpus", lambda *_, **__: Opened)
    words = ["train-supernet", "--corpus", "corpus", "--out", "out", *options]
    with pytest.raises(ChosenError) as found:
        todm.cli.app(words, standalone_mode=False)
    return found.value.config


def test_a_recipe_trains_its_largest_net_alone_first(monkeypatch: pytest.MonkeyPatch) -> None:
    config = chosen(monkeypatch, "--recipe", "fsdd")
    assert config == recipe("fsdd", 12)
    assert config.sandwich.start_fraction == config.schedule.hold_fraction > 0


def test_nets_that_are_trained_already_train_from_the_first_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = chosen(monkeypatch, "--recipe", "fsdd", "--init", "old")
    assert (config.sandwich.start_fraction, config.schedule.hold_fraction) == (0.0, 0.0)
    assert config.sandwich.task_weight == recipe("fsdd", 12).sandwich.task_weight
    asked = chosen(
        monkeypatch, "--recipe", "fsdd", "--init", "old", "--set", "sandwich.start_fraction=0.2"
    )
    assert asked.sandwich.start_fraction == 0.2
    own = tmp_path / "own.json"
    own.write_text(recipe("fsdd", 12).model_dump_json(), "utf-8")
    assert chosen(monkeypatch, "--config", str(own), "--init", "old") == recipe("fsdd", 12)
