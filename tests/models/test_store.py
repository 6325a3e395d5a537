"""Models on disk: what was written is read, and nothing else is."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from todm.core.artifact import write_artifact
from todm.core.config import SupernetConfig
from todm.core.errors import ArtifactError
from todm.core.specs import SubnetSpec
from todm.decode.tokens import TokenTable
from todm.models.rnnt import Transducer
from todm.models.slicing import slice_weights
from todm.models.store import CONFIG, SPEC, load_subnet, load_supernet, write_model
from todm.models.weights import WEIGHTS
from todm.recipes import recipe

TABLE = TokenTable(unit="word", symbols=("<blk>", "▁ONE", "▁TWO", "▁SIX"))
RECIPE = recipe("tiny", TABLE.size)


def new_model(seed: int = 0) -> Transducer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Transducer(RECIPE.space.largest)


def write_supernet(path: Path, config: SupernetConfig = RECIPE) -> Transducer:
    model = new_model()
    with write_artifact(path, kind="supernet") as draft:
        write_model(draft, model, TABLE)
        config.write_json(draft.path / CONFIG)
        draft.body = {"steps": 3}
    return model


def write_subnet(path: Path, spec: SubnetSpec, written: SubnetSpec | None = None) -> Transducer:
    """Write a subnet, its spec file saying ``written`` if given."""
    model = slice_weights(new_model(), spec)
    with write_artifact(path, kind="subnet") as draft:
        write_model(draft, model, TABLE)
        (written or spec).write_json(draft.path / SPEC)
    return model


def assert_same(found: Transducer, want: Transducer) -> None:
    mine, reference = found.state_dict(), want.state_dict()
    assert mine.keys() == reference.keys()
    assert all(torch.equal(mine[name], tensor) for name, tensor in reference.items())


def test_supernet_round_trip(tmp_path: Path) -> None:
    model = write_supernet(tmp_path / "net")
    opened = load_supernet(tmp_path / "net")
    assert_same(opened.model, model)
    assert not opened.model.training
    assert opened.config == RECIPE
    assert opened.table == TABLE
    assert opened.artifact.body == {"steps": 3}


def test_subnet_round_trip(tmp_path: Path) -> None:
    spec = RECIPE.space.smallest
    model = write_subnet(tmp_path / "net", spec)
    opened = load_subnet(tmp_path / "net")
    assert_same(opened.model, model)
    assert opened.spec == spec == opened.model.spec
    assert opened.table == TABLE


def test_weights_may_be_read_by_those_who_may_read_the_rest(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_supernet(tmp_path / "net")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "net").iterdir()}
    assert set(modes.values()) == {0o644}, modes


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "token_table.json", "manifest.json"])
def test_a_damaged_byte_is_found(tmp_path: Path, name: str) -> None:
    write_supernet(tmp_path / "net")
    target = tmp_path / "net" / name
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 0x80
    target.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged") as raised:
        load_supernet(tmp_path / "net")
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    write_supernet(tmp_path / "net")
    (tmp_path / "net" / WEIGHTS).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_supernet(tmp_path / "net")


def test_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    write_supernet(tmp_path / "supernet")
    write_subnet(tmp_path / "subnet", RECIPE.space.middle)
    with pytest.raises(ArtifactError, match="is a supernet artifact, a subnet is needed"):
        load_subnet(tmp_path / "supernet")
    with pytest.raises(ArtifactError, match="is a subnet artifact, a supernet is needed"):
        load_supernet(tmp_path / "subnet")
    with pytest.raises(ArtifactError, match="no such folder"):
        load_subnet(tmp_path / "nothing")


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    """Every digest is right, but the spec is another net's."""
    write_subnet(tmp_path / "net", RECIPE.space.middle, RECIPE.space.smallest)
    with pytest.raises(ArtifactError, match="do not fit the spec") as raised:
        load_subnet(tmp_path / "net")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "net", kind="subnet") as draft:
        write_model(draft, new_model(), TABLE)
        RECIPE.space.largest.write_json(draft.path / SPEC)
        (draft.path / WEIGHTS).write_bytes(b"\x00" * 100)
    with pytest.raises(ArtifactError, match="do not fit the spec"):
        load_subnet(tmp_path / "net")


def test_a_missing_tensor_is_refused(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "net", kind="subnet") as draft:
        model = new_model()
        write_model(draft, model, TABLE)
        RECIPE.space.largest.write_json(draft.path / SPEC)
        weights = {k: v.contiguous() for k, v in model.state_dict().items()}
        del weights["encoder.norm.weight"]
        save_file(weights, draft.path / WEIGHTS)
    with pytest.raises(ArtifactError, match="do not fit the spec"):
        load_subnet(tmp_path / "net")
