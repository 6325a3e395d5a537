"""The flow from a subnet to a bundle: what it says before it starts."""

import pytest

from todm.core.artifact import write_artifact
from todm.core.errors import ConfigError
from todm.flows.export import export_subnet


def test_a_subnet_of_no_device_asks_for_one(tmp_path):
    with write_artifact(tmp_path / "net", kind="subnet") as draft:
        (draft.path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="cut for no device; give one with --device"):
        export_subnet(tmp_path / "net", tmp_path / "out")
    assert not (tmp_path / "out").exists()
