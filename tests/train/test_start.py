"""From what a training starts: another supernet's weights, or its own unfinished run."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from todm.core.artifact import Artifact, load_artifact
from todm.core.config import SupernetConfig
from todm.core.errors import ArtifactError, ConfigError
from todm.core.space import spread_order
from todm.core.specs import SubnetSpec
from todm.data.manifest import open_corpus
from todm.models.rnnt import Transducer
from todm.models.store import CONFIG, load_supernet
from todm.models.weights import WEIGHTS
from todm.recipes import recipe
from todm.train.checkpoint import CHECKPOINT
from todm.train.run import build_task, run
from todm.train.start import open_work, start_from, unfinished_config, work_folder


def make_config(corpus: Artifact, steps: int = 4) -> SupernetConfig:
    config = recipe("tiny", int(str(corpus.body["vocab_size"])))
    parts = {"schedule": {"steps": steps}, "run": {"accelerator": "cpu", "threads": 1}}
    updated = {
        name: getattr(config, name).model_copy(update=values) for name, values in parts.items()
    }
    return config.model_copy(update=updated)


def widened(config: SupernetConfig) -> SupernetConfig:
    """More layers, wider ones, more heads and modes, a wider joiner."""
    old = config.space.largest
    mixer = old.blocks[0].mixer.model_copy(update={"num_heads": 6, "state_dim": 6})
    block = old.blocks[0].model_copy(update={"ffn_dim": 48, "mixer": mixer})
    blocks = tuple(block.model_copy(update={"source_layer": i}) for i in range(5))
    space = config.space.model_copy(
        update={
            "largest": old.model_copy(update={"blocks": blocks, "joiner_dim": 24}),
            "depths": (1, 2, 3, 5),
            "depth_order": spread_order(5),
            "ffn_dims": (16, 32, 48),
            "heads": (2, 4, 6),
            "state_dims": (2, 4, 6),
            "joiner_dims": (8, 16, 24),
        }
    )
    return config.model_copy(update={"space": type(space).model_validate(space.model_dump())})


@pytest.fixture(scope="module")
def supernet(corpus: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    threads = torch.get_num_threads()
    found = run(make_config(corpus), corpus.path, tmp_path_factory.mktemp("old") / "net")
    torch.set_num_threads(threads)
    return found


def logits(net: Transducer, spec: SubnetSpec) -> Tensor:
    g = torch.Generator().manual_seed(5)
    features = torch.randn(2, 48, 80, generator=g)
    enc, pred = net.encoder(features, spec), net.predictor(torch.tensor([[1, 2], [3, 4]]))
    return net.joiner.lattice(enc, pred, spec.joiner_dim).detach()


def test_a_wider_supernet_holds_the_old_nets(
    corpus: Artifact, supernet: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each old net by the genome that names it in the new space."""
    old, config = load_supernet(supernet.path), widened(make_config(corpus))
    fabric = Fabric(accelerator="cpu", devices=1)
    task = build_task(config, open_corpus(corpus.path), fabric, old)
    assert "all of its weights" in capsys.readouterr().err
    for depth in (1, 2, 3):
        before = old.config.space.uniform(depth, 32, 4, 4, 16)
        after = config.space.uniform(depth, 32, 4, 4, 16)
        torch.testing.assert_close(
            logits(task.model, after), logits(old.model, before), rtol=0.0, atol=1e-6
        )
    assert torch.equal(task.model.encoder.front.mean, old.model.encoder.front.mean)


def test_a_training_starts_from_an_artifact_and_says_so(
    corpus: Artifact, supernet: Artifact, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    config = widened(make_config(corpus, steps=2))
    found = run(config, corpus.path, tmp_path / "net", supernet.path)
    torch.set_num_threads(threads)
    assert found.manifest.parents == {"corpus": corpus.digest, "init": supernet.digest}
    weights, before = load_file(found.file(WEIGHTS)), load_file(supernet.file(WEIGHTS))
    name = "encoder.front.conv1.weight"
    torch.testing.assert_close(weights[name], before[name], rtol=0.0, atol=0.05)  # two steps away
    assert not torch.equal(weights[name], before[name])


def test_other_tokens_keep_the_rest_and_say_so(
    corpus: Artifact, supernet: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    old, table = load_supernet(supernet.path), open_corpus(corpus.path).table
    symbols = (*table.symbols[:-2], table.symbols[-1], table.symbols[-2])  # of the same size
    other = table.model_copy(update={"symbols": symbols})
    model = Transducer(make_config(corpus).space.largest)
    embed = model.predictor.embed.weight.detach().clone()
    start_from(model, make_config(corpus), other, old, silent=False)
    assert "but embedding and output layer, since the corpus has other tokens" in (
        capsys.readouterr().err
    )
    assert torch.equal(model.predictor.embed.weight, embed)
    assert torch.equal(model.encoder.norm.weight, old.model.encoder.norm.weight)


def test_a_width_that_does_not_grow_is_named(corpus: Artifact, supernet: Artifact) -> None:
    config = make_config(corpus)
    largest = config.space.largest.model_copy(update={"model_dim": 24})
    space = config.space.model_copy(update={"largest": largest})
    config = config.model_copy(update={"space": space})
    old, table = load_supernet(supernet.path), open_corpus(corpus.path).table
    with pytest.raises(ConfigError, match=r"space.largest.model_dim is 24 but 16 in .*--init"):
        start_from(Transducer(largest), config, table, old, silent=True)


def begun(config: SupernetConfig, work: Path) -> None:
    open_work(config, work)
    (work / CHECKPOINT).write_bytes(b"something")


def test_an_unfinished_run_names_what_differs(corpus: Artifact, tmp_path: Path) -> None:
    config, work = make_config(corpus), tmp_path / "net.work"
    begun(config, work)
    optim = config.optim.model_copy(update={"lr": 0.5})
    other = config.model_copy(update={"optim": optim, "seed": 3})
    with pytest.raises(ArtifactError) as raised:
        open_work(other, work)
    message = str(raised.value)
    assert "seed is 0 there and 3 here; optim.lr is 0.03 there and 0.5 here" in message
    assert "--resume" in message
    assert SupernetConfig.read_json(work / CONFIG) == config


def test_many_differences_are_counted(corpus: Artifact, tmp_path: Path) -> None:
    config, work = make_config(corpus), tmp_path / "net.work"
    begun(config, work)
    with pytest.raises(ArtifactError, match=r"and \d+ more\)"):
        open_work(widened(config), work)


def test_a_run_may_go_on_elsewhere(corpus: Artifact, tmp_path: Path) -> None:
    """Threads, accelerator, processes and the like do not belong to what is trained."""
    config, work = make_config(corpus), tmp_path / "net.work"
    begun(config, work)
    place = {"threads": 7, "accelerator": "auto", "strategy": "ddp", "checkpoint_every_steps": 1}
    elsewhere = config.model_copy(update={"run": config.run.model_copy(update=place)})
    open_work(elsewhere, work)
    assert elsewhere.deciding() == config.deciding() != config


def test_two_processes_do_not_train_into_one_folder(corpus: Artifact, tmp_path: Path) -> None:
    config, out = make_config(corpus), tmp_path / "net"
    work = tmp_path / "net.work"

    def killed() -> None:
        with work_folder(config, out, "supernet"):
            with pytest.raises(ArtifactError, match=r"net\.work: another process is training th"):
                work_folder(config, out, "supernet").__enter__()
            raise OSError("out of disk")

    with pytest.raises(OSError, match="out of disk"):
        killed()
    assert (work / CONFIG).is_file()  # what a killed run left; the lock does not outlive it
    with work_folder(config, out, "supernet") as again:
        assert again == work
    assert list(tmp_path.iterdir()) == []


def test_resume_takes_the_run_s_own_configuration(corpus: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "net"
    with pytest.raises(ConfigError, match="holds no unfinished run"):
        unfinished_config(out)
    begun(make_config(corpus), tmp_path / "net.work")
    assert unfinished_config(out) == make_config(corpus)


def test_a_run_of_another_start_is_not_gone_on_with(
    corpus: Artifact, supernet: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    monkeypatch.setattr("todm.train.run._write", stopped)
    config, out = make_config(corpus, steps=1), tmp_path / "net"
    with pytest.raises(KeyboardInterrupt):
        run(config, corpus.path, out)
    with pytest.raises(ArtifactError, match="or --init"):
        run(config, corpus.path, out, supernet.path)
    torch.set_num_threads(threads)
    assert load_artifact(supernet.path, "supernet").digest == supernet.digest
