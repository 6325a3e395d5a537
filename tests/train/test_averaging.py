"""The mean over a window: brute force, the running form and the difference of two means agree."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from todm.core.config import ScheduleConfig
from todm.train.averaging import PairAverage, WindowAverage, new_average


def make_walk(steps: int, seed: int = 0) -> list[Tensor]:
    """Weights after step 1, 2, ...: a walk far from zero, whose sums would lose digits."""
    g = torch.Generator().manual_seed(seed)
    return list(100.0 + torch.randn(steps, 2, 3, generator=g).cumsum(0))


def set_weights(model: nn.Linear, weights: Tensor) -> None:
    with torch.no_grad():
        model.weight.copy_(weights)


def brute_force(walk: list[Tensor], start: int, period: int = 1) -> Tensor:
    """The mean over the noted steps later than ``start``, in float64."""
    noted = [w.double() for step, w in enumerate(walk, 1) if step % period == 0 and step > start]
    return torch.stack(noted).mean(0)


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 40), st.integers(1, 4), st.integers(0, 100), st.data())
def test_the_difference_of_two_means_is_the_mean_between(
    tmp_path_factory: pytest.TempPathFactory,
    steps: int,
    period: int,
    seed: int,
    data: st.DataObject,
) -> None:
    starts = data.draw(st.sets(st.integers(1, steps - period), min_size=1, max_size=3))
    model, walk = nn.Linear(3, 2), make_walk(steps, seed)
    average = PairAverage(
        model, tmp_path_factory.mktemp("pairs"), starts=sorted(starts), period=period
    )
    for step, weights in enumerate(walk, 1):
        set_weights(model, weights)
        average.add(model, step)
    windows = average.windows()
    assert list(windows) == [
        str(s) for s in sorted(starts, reverse=True) if s // period < steps // period
    ]
    for start, found in windows.items():
        assert found["weight"].dtype == torch.float32
        want = brute_force(walk, int(start), period)
        torch.testing.assert_close(found["weight"].double(), want, rtol=1e-6, atol=0.0)


def test_both_forms_agree_on_one_window(tmp_path: Path) -> None:
    model, walk = nn.Linear(3, 2), make_walk(40)
    window = WindowAverage(model, after=30.0)
    pairs = PairAverage(model, tmp_path, starts=[30], period=1)
    for step, weights in enumerate(walk, 1):
        set_weights(model, weights)
        window.add(model, step)
        pairs.add(model, step)
    (mean,), (difference,) = window.windows().values(), pairs.windows().values()
    torch.testing.assert_close(mean["weight"], difference["weight"], rtol=1e-6, atol=0.0)
    want = brute_force(walk, 30)
    torch.testing.assert_close(mean["weight"].double(), want, rtol=1e-6, atol=0.0)


def test_pairs_go_on_from_a_saved_state(tmp_path: Path) -> None:
    """The copies at starts lie in the folder, the running mean in the checkpoint."""
    model, walk = nn.Linear(3, 2), make_walk(20)
    first = PairAverage(model, tmp_path, starts=[5, 15], period=2)
    for step, weights in enumerate(walk[:10], 1):
        set_weights(model, weights)
        first.add(model, step)
    second = PairAverage(model, tmp_path, starts=[5, 15], period=2)
    second.load_state_dict(first.state_dict())
    for step, weights in enumerate(walk[10:], 11):
        set_weights(model, weights)
        second.add(model, step)
    for start, found in second.windows().items():
        want = brute_force(walk, int(start), 2)
        torch.testing.assert_close(found["weight"].double(), want, rtol=1e-6, atol=0.0)
    assert list(second.windows()) == ["15", "5"]


def test_the_schedule_says_which_form_and_where_windows_begin(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    assert isinstance(new_average(ScheduleConfig(steps=40), model, tmp_path), WindowAverage)
    config = ScheduleConfig(steps=40, averaging="pairs", average_starts=(0.25, 0.5))
    average = new_average(config, model, tmp_path)
    for step, weights in enumerate(make_walk(40), 1):
        set_weights(model, weights)
        average.add(model, step)
    assert list(average.windows()) == ["20", "10"]
    early = ScheduleConfig(steps=30, averaging="pairs", average_starts=(0.01,))
    (tmp_path / "early").mkdir()
    average = new_average(early, model, tmp_path / "early")
    for step, weights in enumerate(make_walk(30), 1):
        set_weights(model, weights)
        average.add(model, step)
    assert list(average.windows()) == ["1"]
