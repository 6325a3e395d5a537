"""Tables to series: what is found in them, and what is refused in one clear line."""

import numpy as np
import pytest

from todm.core.errors import ConfigError, DataError
from todm.core.forecast_config import SeriesConfig
from todm.data.calendar_marks import calendar_marks, mark_names, parse_frequency
from todm.data.series import read_series
from todm.data.windows import make_windows, split_rows
from todm.features.series_facts import Scale

pd = pytest.importorskip("pandas")

HOURS = pd.date_range("2020-01-01", periods=60, freq="h")


def write(path, rows, header="date,value"):
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


def hourly(path, *, drop=(), repeat=(), values=None):
    values = np.arange(60.0) if values is None else values
    rows = [f"{t},{v}" for i, (t, v) in enumerate(zip(HOURS, values, strict=True)) if i not in drop]
    return write(path, rows + [rows[i] for i in repeat])


@pytest.fixture
def table(tmp_path):
    return tmp_path / "table.csv"


def test_a_plain_table(table):
    series = read_series(hourly(table), SeriesConfig())
    assert (series.names, series.frequency, series.step_s) == (("value",), "h", 3600.0)
    assert series.notes == ()
    np.testing.assert_array_equal(series.values_TC[:, 0], np.arange(60.0))


def test_rows_out_of_order_are_sorted_and_told(table):
    rows = [f"{t},{v}" for v, t in enumerate(HOURS)]
    series = read_series(write(table, rows[30:] + rows[:30]), SeriesConfig())
    np.testing.assert_array_equal(series.values_TC[:, 0], np.arange(60.0))
    assert "sorted" in series.notes[0]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_separator_and_decimal_comma_are_found(table, separator):
    rows = [f"{t}{separator}{v},5{separator}{v},25" for v, t in enumerate(HOURS)]
    write(table, rows, separator.join(("date", "a", "b")))
    series = read_series(table, SeriesConfig(targets=("*",)))
    assert series.names == ("a", "b")
    np.testing.assert_array_equal(series.values_TC[:, 0], np.arange(60) + 0.5)
    np.testing.assert_array_equal(series.values_TC[:, 1], np.arange(60) + 0.25)


def test_a_wrong_separator_says_which_column_there_is(table):
    write(table, [f"{t};{v}" for v, t in enumerate(HOURS)], "date;value")
    with pytest.raises(DataError, match=r"one column 'date;value'.*series.separator"):
        read_series(table, SeriesConfig(separator=","))


def test_a_wrong_decimal_mark_says_so(table):
    write(table, [f"{t};{v},5" for v, t in enumerate(HOURS)], "date;value")
    with pytest.raises(DataError, match=r"'0,5' \(line 2\).*series.decimal=,"):
        read_series(table, SeriesConfig(decimal="."))


def test_a_word_among_numbers_is_refused_with_its_line(table):
    write(table, [f"{t},{'broken' if v == 7 else v}" for v, t in enumerate(HOURS)])
    with pytest.raises(DataError, match=r"'broken' \(line 9\)"):
        read_series(table, SeriesConfig())


def test_infinity_is_refused(table):
    write(table, [f"{t},{'inf' if v == 7 else v}" for v, t in enumerate(HOURS)])
    with pytest.raises(DataError, match=r"'inf' \(line 9\) is no finite number"):
        read_series(table, SeriesConfig())


def test_gaps_are_refused_unless_filled(table):
    hourly(table, drop=(10, 11, 30))
    with pytest.raises(DataError, match=r"3 of 60 values are missing.*2020-01-01 10:00.*--missing"):
        read_series(table, SeriesConfig())
    filled = read_series(table, SeriesConfig(missing="interpolate"))
    np.testing.assert_allclose(filled.values_TC[:, 0], np.arange(60.0))
    assert "3 steps are missing in time, the first 2020-01-01 10:00:00" in filled.notes[0]
    repeated = read_series(table, SeriesConfig(missing="ffill"))
    assert repeated.values_TC[[10, 11, 30], 0].tolist() == [9.0, 9.0, 29.0]


@pytest.mark.parametrize("cell", ["", "NaN", "NA"])
def test_missing_values_are_refused_unless_filled(table, cell):
    values = [cell if i == 20 else float(i) for i in range(60)]
    hourly(table, values=values)
    with pytest.raises(DataError, match="1 of 60 values"):
        read_series(table, SeriesConfig())
    assert read_series(table, SeriesConfig(missing="interpolate")).values_TC[20, 0] == 20.0


def test_missing_values_at_the_start_cannot_be_filled(table):
    hourly(table, values=["" if i < 2 else float(i) for i in range(60)])
    for missing in ("interpolate", "ffill"):
        with pytest.raises(DataError, match="begins with them"):
            read_series(table, SeriesConfig(missing=missing))


def test_duplicates_are_refused_unless_merged(table):
    hourly(table, repeat=(5, 6))
    table.write_text(table.read_text("utf-8") + f"{HOURS[7]},107\n", "utf-8")
    with pytest.raises(DataError, match=r"3 rows repeat a time, the first 2020-01-01 05:00"):
        read_series(table, SeriesConfig())
    first = read_series(table, SeriesConfig(duplicates="first"))
    mean = read_series(table, SeriesConfig(duplicates="mean"))
    assert (first.values_TC[7, 0], mean.values_TC[7, 0]) == (7.0, 57.0)
    assert "first kept" in first.notes[-1]


def test_irregular_times_have_no_frequency(table):
    odd = np.cumsum([1, 7, 2, 9, 4, 8, 3, 11, 5, 6])
    rows = [f"{pd.Timestamp('2020-01-01') + pd.Timedelta(int(m), 'min')},1" for m in odd]
    with pytest.raises(DataError, match=r"no regular grid.*series.frequency"):
        read_series(write(table, rows), SeriesConfig())


def test_times_off_the_given_grid_are_refused(table):
    with pytest.raises(DataError, match="not on the grid of frequency 'D'"):
        read_series(hourly(table), SeriesConfig(frequency="D"))


@pytest.mark.parametrize("frequency", ["fortnight", "xyz", "10"])
def test_an_unknown_frequency_names_the_known_ones(table, frequency):
    with pytest.raises(ConfigError, match=r"unknown frequency.*known: s, min, h"):
        read_series(hourly(table), SeriesConfig(frequency=frequency))


def test_text_that_is_no_time_is_refused_with_its_line(table):
    write(table, ["yesterday,1", "today,2", "tomorrow,3"])
    with pytest.raises(DataError, match=r"'yesterday' \(line 2\) is no time.*series.time"):
        read_series(table, SeriesConfig())


@pytest.mark.parametrize(
    ("times", "frequency"),
    [
        ([str(y) for y in range(1700, 1720)], "YS-JAN"),
        ([f"{y}{m:02}" for y in (2000, 2001) for m in range(1, 13)], "MS"),
        (pd.date_range("1958-03-29", periods=20, freq="W-SAT").strftime("%Y%m%d"), "W-SAT"),
        (pd.date_range("2020-01-31", periods=20, freq="ME").strftime("%Y-%m-%d"), "ME"),
        (pd.date_range("2020-01-01", periods=20, freq="15min"), "15min"),
    ],
)
def test_frequencies_are_inferred(table, times, frequency):
    series = read_series(write(table, [f"{t},1" for t in times]), SeriesConfig())
    assert series.frequency == frequency


def test_a_frequency_is_inferred_across_gaps(table):
    months = pd.date_range("2020-01-01", periods=40, freq="MS")
    rows = [f"{t:%Y-%m-%d},{i}" for i, t in enumerate(months) if i not in (5, 6, 20)]
    series = read_series(write(table, rows), SeriesConfig(missing="interpolate"))
    assert (series.frequency, len(series.times)) == ("MS", 40)


def test_a_table_without_a_time_takes_a_start(table):
    write(table, [f"{v},{2 * v}" for v in range(12)], "a,b")
    config = SeriesConfig(start="1959-01-01", frequency="QS", targets=("b",))
    series = read_series(table, config)
    assert str(series.times[-1]) == "1961-10-01 00:00:00"
    assert series.values_TC[-1, 0] == 22.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SeriesConfig(), r"which column.*a, b.*--target"),
        (SeriesConfig(targets=("c",)), "no column 'c'; it has date, a, b"),
        (SeriesConfig(time="when", targets=("a",)), "no column 'when'"),
    ],
)
def test_columns_are_named_in_messages(table, config, message):
    write(table, ["2020-01-01,1,2", "2020-01-02,1,2"], "date,a,b")
    with pytest.raises(DataError, match=message):
        read_series(table, config)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not readable as a table"), ("date,value\n", "no rows"), (None, "no such file")],
)
def test_no_table(table, text, message):
    if text is not None:
        table.write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        read_series(table, SeriesConfig())


def test_hourly_marks_are_the_paper_s():
    times = pd.DatetimeIndex(["2016-07-01 00:00", "2017-12-31 23:00"])
    # hour / 23, weekday / 6, (day - 1) / 30, (day of the year - 1) / 365, less a half each
    want = [
        [-0.5, 4 / 6 - 0.5, -0.5, 182 / 365 - 0.5],
        [0.5, 0.5, 0.5, 364 / 365 - 0.5],
    ]
    np.testing.assert_allclose(calendar_marks(times, "h"), want)


@pytest.mark.parametrize(
    ("frequency", "count"),
    {
        **{"s": 6, "15min": 5, "h": 4, "D": 3, "B": 3},
        **{"W": 2, "MS": 1, "BME": 1, "QS": 1, "YE": 0},
    }.items(),
)
def test_marks_lie_within_a_half(frequency, count):
    times = pd.date_range("1999-12-28", periods=500, freq=parse_frequency(frequency))
    marks = calendar_marks(times, frequency)
    assert marks.shape == (500, count) == (500, len(mark_names(frequency)))
    assert np.abs(marks).max(initial=0.0) <= 0.5 + 1e-12


def test_the_published_split_has_3317_test_windows(table):
    """60/20/20 of 17,420 hourly rows, as ETTh1 has: 10,452, 3,484 and 3,484."""
    parts = split_rows(17420, SeriesConfig())
    assert [len(parts[p]) for p in ("train", "validation", "test")] == [10452, 3484, 3484]
    times = pd.date_range("2016-07-01", periods=17420, freq="h")
    write(table, [f"{t},{i % 24}" for i, t in enumerate(times)])
    config = SeriesConfig()
    series = read_series(table, config)
    windows, _ = make_windows(series, config, window_steps=168, horizon_steps=168, marks=True)
    assert {part: len(w) for part, w in windows.items()} == {
        "train": 10117,
        "validation": 3317,
        "test": 3317,
    }


def test_windows_are_the_series_and_look_no_further_than_their_part(table):
    config = SeriesConfig()
    series = read_series(hourly(table), config)
    windows, scale = make_windows(series, config, window_steps=5, horizon_steps=3, marks=False)
    train = series.values_TC[:36]
    assert scale.mean[0] == pytest.approx(train.mean())
    assert scale.std[0] == pytest.approx(train.std())
    ends = {"train": 36, "validation": 48, "test": 60}
    for part, chosen in windows.items():
        batch = chosen.batch(chosen.evenly(10**6))
        rows = scale.undo(np.concatenate([batch.x_BWC.numpy(), batch.y_BHC.numpy()], 1))[..., 0]
        np.testing.assert_allclose(np.diff(rows), 1.0, atol=1e-5)
        assert rows[-1, -1] == pytest.approx(ends[part] - 1)
        assert batch.marks_BWM.shape == (len(chosen), 5, 0)


@pytest.mark.parametrize(
    ("window", "horizon", "part"), [(40, 5, "train"), (5, 13, "validation"), (30, 10, "train")]
)
def test_a_series_shorter_than_the_window(table, window, horizon, part):
    series = read_series(hourly(table), SeriesConfig())
    with pytest.raises(DataError, match=rf"60 rows.*for {part}; a window of {window}"):
        make_windows(
            series, SeriesConfig(), window_steps=window, horizon_steps=horizon, marks=False
        )


@pytest.mark.parametrize("constant", [7.0, 0.1])  # the mean of 48 times 0.1 is not 0.1
def test_a_constant_series_has_a_scale(table, constant):
    series = read_series(hourly(table, values=np.full(60, constant)), SeriesConfig())
    windows, scale = make_windows(
        series, SeriesConfig(), window_steps=5, horizon_steps=3, marks=False
    )
    assert scale.mean == pytest.approx((constant,))
    assert scale.std == (1.0,)
    assert np.abs(windows["test"].values_TC).max() < 1e-12


def test_small_numbers_that_change_are_no_rounding():
    assert Scale.of(np.array([[1e-15], [3e-15]])).std == pytest.approx((1e-15,))


def test_local_time_is_read_across_a_clock_change(table):
    local = pd.date_range("2024-10-26", periods=60, freq="h", tz="Europe/Berlin")
    rows = [f"{t.isoformat()},{v}" for v, t in enumerate(local)]
    series = read_series(write(table, rows), SeriesConfig())
    assert (series.frequency, series.step_s, len(series.values_TC)) == ("h", 3600.0, 60)
    assert series.notes == ()


def test_a_target_named_twice_is_taken_once(table):
    rows = [f"{t},{v},{-v}" for v, t in enumerate(HOURS)]
    write(table, rows, "date,a,b")
    assert read_series(table, SeriesConfig(targets=("a", "a"))).names == ("a",)
