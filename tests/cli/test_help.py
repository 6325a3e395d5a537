"""The help is there for every command, light, and the flags are frozen."""

import re

import pytest
import typer

from todm.cli import _COMMANDS, _GROUPS, app

HEAVY = (
    "torch", "numpy", "scipy", "pandas", "lhotse", "soxr", "optuna", "lightning", "executorch",
    "onnxruntime", "onnx", "matplotlib",
)  # fmt: skip
REPORT_HEAVY = f"""
import atexit, sys
atexit.register(lambda: sys.stderr.write(
    "heavy:" + ",".join(m for m in {HEAVY!r} if m in sys.modules)))
"""
FLAGS = {
    "prepare": "--config --corpus-dir --json --out --path --set --strict corpus",
    "train-supernet": "--config --corpus --dry-run --gpus --init --json --lr-range --out --recipe "
    "--resume --set",
    "search": "--config --corpus --json --out --set supernet",
    "extract": "--allow-unjudged --corpus --device --front --json --out supernet",
    "export": "--also --audio --corpus --device --features --json --no-features --out --precision "
    "--scan --set --target --ungated subnet",
    "finetune": "--config --corpus --json --out --precision --set subnet",
    "transcribe": "--json --mix-down --precision --runtime --threads --times audio model",
    "eval": "--align --corpus --json --max-wer --out --precision --runtime --set --split model",
    "bench": "--audio --corpus --device --json --out --set model",
    "check": "--audio --corpus --device --json --out --runtimes --set bundle",
    "release": "--data --json --language --licence --out --report bundle",
    "report": "--json --out artifacts",
    "demo": "--corpus-dir --json --max-wer --out",
    "profiles": "--json",
    "forecast train": "--config --data --horizon --json --missing --out --recipe --set --target",
    "forecast predict": "--data --json --missing --out --rolling model",
    "forecast eval": "--data --json --missing --out --set model",
    "forecast export": "--device --json --out --target model",
    "classify prepare": "--config --corpus-dir --json --out --recipe --set",
    "classify train": "--config --corpus --json --out --recipe --set",
    "classify eval": "--corpus --json --no-rule --out --rate --rule --set --split model",
    "classify predict": "--json --runtime files model",
    "classify export": "--chunk --corpus --device --json --out --rate --target model",
}


def flags_of(command):
    found = []
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        found += [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.name]
    return " ".join(sorted(flag for flag in found if flag not in ("-h", "--help")))


def test_flags_are_frozen():
    """A new knob is a key of a configuration, reached by --set; a flag needs a better reason."""
    group = typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():
        inner = {f"{name} {key}": value for key, value in getattr(command, "commands", {}).items()}
        found |= inner or {name: command}
    assert {name: flags_of(command) for name, command in found.items()} == FLAGS
    assert flags_of(group) == "--debug --version"


def test_every_command_has_a_file_and_an_example():
    for name, function in _COMMANDS.items():
        assert function.__module__ == f"todm.cli.{name.replace('-', '_')}"
        assert re.search(rf"^ +todm {name}", function.__doc__, re.MULTILINE), name
    for group, inner in _GROUPS.items():
        for command in inner.registered_commands:
            assert command.callback.__module__ == f"todm.cli.{group}"
            example = rf"^ +todm {group} {command.name}"
            assert re.search(example, command.callback.__doc__, re.MULTILINE), command.name


@pytest.mark.parametrize(
    "arguments", [(), ("forecast",), ("classify",), *(name.split() for name in FLAGS)]
)
def test_help_imports_nothing_heavy(todm_process, arguments):
    """What makes help slow is an import: the times themselves are the machine's."""
    done = todm_process(*arguments, "--help", before=REPORT_HEAVY)
    assert done.returncode == 0
    assert done.stderr == "heavy:"
    assert "Usage: todm" in done.stdout


def test_version(todm_process):
    done = todm_process("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"todm \d+\.\d+\.\d+\n", done.stdout)


def test_profiles_as_lines_and_as_json(todm_process):
    import json

    lines = todm_process("profiles").stdout.splitlines()
    found = json.loads(todm_process("profiles", "--json").stdout)["profiles"]
    assert len(lines) == len(found) >= 6
    assert all(profile["budgets"] for profile in found)
