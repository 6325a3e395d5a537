"""Device profiles: the shipped ones are whole, wrong ones are refused with one line."""

import tomllib

import pytest

from todm.core.errors import ConfigError
from todm.core.profile import DeviceProfile, load_profile, profiles_dir, shipped_profiles
from todm.core.quantization import ExportConfig
from todm.core.report import judge
from todm.core.target import targets_for
from todm.extract.constraints import arithmetic
from todm.recipes.spaces import small_space

SHIPPED = (
    "android_mid_range",
    "browser_tab",
    "mcu_arm",
    "raspberry_pi_4",
    "raspberry_pi_5",
    "this_host",
)


def write(tmp_path, text):
    path = tmp_path / "board.toml"
    path.write_text(text, "utf-8")
    return str(path)


def shipped_text(name):
    return (profiles_dir() / f"{name}.toml").read_text("utf-8")


def test_six_devices_are_shipped():
    assert tuple(shipped_profiles()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profile_is_whole(name):
    profile = load_profile(name)
    assert profile.name == name
    exact = {"bundle_bytes", "macs_per_audio_s"} & set(profile.budgets)
    assert exact, "a budget that arithmetic can judge"
    assert all(profile.judges(budget) for budget in exact)
    for budget in profile.budgets.values():
        assert len(budget.source) > 10
    for figure in profile.figures:
        assert figure.source
    assert profile.is_this_host == (name == "this_host")
    assert targets_for(profile, None)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("this_host", 1.0, 1e9), ("browser_tab", 0.35, 0.55), ("mcu_arm", 0.20, 0.35)],
)
def test_the_demos_devices_ask_for_nets_of_different_size(name, least, most):
    """Shares of the largest net's MACs; the smallest net fits everywhere."""
    space, profile = small_space(12), load_profile(name)
    largest, smallest = (arithmetic(spec, profile) for spec in (space.largest, space.smallest))
    limits = {k: profile.budgets[k].limit if k in profile.budgets else 1e12 for k in largest}
    assert least <= limits["macs_per_audio_s"] / largest["macs_per_audio_s"] <= most
    assert all(smallest[k] < 0.8 * limits[k] for k in limits)
    assert (name == "this_host") == all(largest[k] <= limits[k] for k in limits)


def test_both_forms_of_export_occur():
    forms = {targets_for(load_profile(name), None)[0].form for name in SHIPPED}
    assert forms == {"onnx", "executorch"}


def test_a_device_gets_the_numeric_form_that_it_ships(tmp_path):
    text = shipped_text("mcu_arm").replace('numeric = "fp32"', 'numeric = "int8"')
    profile = load_profile(write(tmp_path, text))
    names = {
        target.form: [scheme.precision for scheme in target.schemes]
        for target in targets_for(profile, "both")
    }
    assert names == {"executorch": ["fp32", "int8"], "onnx": ["fp32", "int8"]}
    (asked,) = targets_for(profile, None, ExportConfig(precisions=("int4",)))
    assert [scheme.precision for scheme in asked.schemes] == ["fp32", "int4"]
    (plain,) = targets_for(load_profile("mcu_arm"), None)
    assert [scheme.precision for scheme in plain.schemes] == ["fp32"]
    full, small = (
        arithmetic(small_space(12).largest, p)["bundle_bytes"]
        for p in (load_profile("mcu_arm"), profile)
    )
    assert small < 0.4 * full


def test_a_path_loads_like_a_name(tmp_path):
    assert load_profile(write(tmp_path, shipped_text("mcu_arm"))) == load_profile("mcu_arm")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("threads = 1", "threads = 1\ncolour = 'red'"), "unknown key 'colour'"),
        (("[budgets.bundle_bytes]", "[budgets.bundle_size]"), "unknown budgets"),
        (("limit = 1310720", "limit = 0"), "greater than 0"),
        (("limit = 1310720", "limit = -5"), "greater than 0"),
        (("limit = 1310720", "limit = nan"), "finite number"),
        (('numeric = "fp32"', 'numeric = "int3"'), "numeric"),
        (('runtime = "executorch"', 'runtime = "tflite"'), "runtime"),
        (("value = 2097152\n", ""), "exclude each other"),
        (("threads = 1", "threads = "), "not readable as TOML"),
    ],
)
def test_wrong_profile_is_one_line(tmp_path, change, complaint):
    path = write(tmp_path, shipped_text("mcu_arm").replace(*change, 1))
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_profile(path)
    assert "\n" not in str(caught.value)
    assert "board.toml" in str(caught.value)


def test_unknown_name_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"browser_tab.*mcu_arm"):
        load_profile("toaster")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_profile(str(tmp_path / "none.toml"))


def test_timed_budgets_of_other_devices_are_never_met():
    profile = load_profile("raspberry_pi_4")
    values = {name: 0.001 for name in profile.budgets}
    status = {verdict.name: verdict.status for verdict in judge(profile, values)}
    assert status["bundle_bytes"] == status["macs_per_audio_s"] == "met"
    assert status["rtf"] == status["chunk_latency_p95_ms"] == "not_judged"
    host = load_profile("this_host")
    assert {v.status for v in judge(host, {"rtf": 0.5})} == {"failed", "not_judged"}


def test_figure_with_a_value_is_not_missing():
    data = tomllib.loads(shipped_text("mcu_arm"))
    data["figures"][0]["origin"] = "missing"
    with pytest.raises(ConfigError, match="exclude each other"):
        DeviceProfile.parse(data, where="test")
