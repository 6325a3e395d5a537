"""Fine-tuning a subnet: what comes out, going on after a kill, and wrong input."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.config import LossConfig, OptimConfig, ScheduleConfig
from todm.core.data_config import AugmentConfig, LoaderConfig
from todm.core.errors import ArtifactError, ConfigError
from todm.core.finetune_config import FinetuneConfig, FinetuneRun
from todm.core.quantization import Float32, OnnxDynamicInt8
from todm.data.loader import Batch
from todm.data.manifest import open_corpus
from todm.decode.tokens import TokenTable
from todm.layers.fake_quant import FakeQuantLinear
from todm.losses.transducer import transducer_loss
from todm.models.rnnt import Transducer, encoder_lens
from todm.models.scoring import corpus_samples
from todm.models.simulate import simulated
from todm.models.store import CONFIG, SPEC, load_subnet, write_model
from todm.models.weights import WEIGHTS
from todm.recipes import recipe
from todm.train.finetune import FinetuneTask, scores_of
from todm.train.finetune_run import run
from todm.train.log import LOG
from todm.train.run import new_model

STEPS = 16


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A run sets the threads of the process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def subnet(corpus: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh net of the tiny space's largest sizes, as extraction writes them."""
    opened = open_corpus(corpus.path)
    model = new_model(recipe("tiny", opened.table.size), opened)
    return written(model, opened.table, tmp_path_factory.mktemp("nets") / "net", corpus)


def written(model: Transducer, table: TokenTable, out: Path, corpus: Artifact) -> Path:
    with write_artifact(out, kind="subnet", parents={"corpus": corpus}) as draft:
        write_model(draft, model, table)
        model.spec.write_json(draft.path / SPEC)
        (draft.path / "profile.json").write_text("{}\n", "utf-8")
        draft.body = {
            "recipe": "tiny", "profile": "board", "wer": 99.0, "axes": {"joiner": 16},
            "values": {"rtf": 0.1}, "measured": ["rtf"], "measured_candidates": 1,
            "verdicts": [], "search_wer": 99.0,
        }  # fmt: skip
    return out


def make_config(**changes: Any) -> FinetuneConfig:
    settings = {
        "data": LoaderConfig(batch_size=4, augment=AugmentConfig(freq_masks=1, time_masks=1)),
        "schedule": ScheduleConfig(kind="one_cycle", steps=STEPS, warmup_steps=3),
        "optim": OptimConfig(lr=0.02, ssm_lr=0.001),
        "run": FinetuneRun(
            checkpoint_every_steps=4, eval_every_steps=8, eval_utterances=4, threads=1,
            accelerator="cpu",
        ),
    }  # fmt: skip
    return FinetuneConfig(**{**settings, **changes})


@pytest.fixture(scope="module")
def tuned(corpus: Artifact, subnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(make_config(), subnet, corpus.path, tmp_path_factory.mktemp("tuned") / "net")


def test_the_result_is_a_plain_subnet_of_the_same_sizes(
    subnet: Path, tuned: Artifact, corpus: Artifact
) -> None:
    old, new = load_subnet(subnet), load_subnet(tuned.path)
    assert new.spec == old.spec
    assert new.table == old.table
    assert not any(isinstance(m, FakeQuantLinear) for m in new.model.modules())
    before, after = load_file(subnet / WEIGHTS), load_file(tuned.path / WEIGHTS)
    assert {k: (v.shape, v.dtype) for k, v in before.items()} == {
        k: (v.shape, v.dtype) for k, v in after.items()
    }
    assert not torch.equal(before["joiner.to_vocab.weight"], after["joiner.to_vocab.weight"])
    assert torch.equal(before["encoder.front.mean"], after["encoder.front.mean"])
    assert tuned.manifest.parents == {"subnet": old.artifact.digest, "corpus": corpus.digest}
    assert tuned.file("profile.json").read_text("utf-8") == "{}\n"
    assert FinetuneConfig.read_json(tuned.file(CONFIG)) == make_config()
    assert not tuned.path.with_name("net.work").exists()


def test_both_precisions_learn_and_the_body_says_what_was_found(
    subnet: Path, tuned: Artifact, corpus: Artifact
) -> None:
    body: Any = tuned.body
    assert (body["recipe"], body["profile"], body["axes"]) == ("tiny", "board", {"joiner": 16})
    assert set(body) == {
        "recipe", "profile", "axes", "corpus_path", "corpus_digest", "split",
        "wer", "nll", "words", "finetuned",
    }  # fmt: skip
    told = body["finetuned"]
    assert told["steps"] == STEPS
    assert told["scheme"]["kind"] == "onnx_dynamic_int8"
    opened, config = open_corpus(corpus.path), make_config()
    samples = corpus_samples(opened, opened.table, "dev", None)
    for net, figures in ((subnet, told["before"]), (tuned.path, told["after"])):
        model = load_subnet(net).model
        twin = simulated(model, config.scheme)
        assert figures == scores_of(config, model, twin, samples, opened.table)
        assert figures["fp32"]["loss"] != figures["int8"]["loss"]
    for precision in ("fp32", "int8"):
        assert told["after"][precision]["loss"] < 0.95 * told["before"][precision]["loss"]
    assert (body["wer"], body["nll"]) == (
        told["after"]["fp32"]["wer"],
        told["after"]["fp32"]["loss"],
    )


def task_of(config: FinetuneConfig, subnet: Path, corpus: Artifact) -> FinetuneTask:
    from todm.data.loader import BatchLoader

    opened, net = open_corpus(corpus.path), load_subnet(subnet)
    loader = BatchLoader(opened, "train", config.data, config.seed)
    return FinetuneTask(config, net.model, loader, [], net.table)


def test_a_step_is_the_simulated_nets_gradient_on_the_plain_nets_weights(
    subnet: Path, corpus: Artifact
) -> None:
    config = make_config()
    task = task_of(config, subnet, corpus)
    batch: Batch = task.loader.batch(0)
    (loss,) = task.losses(batch, 0)
    loss.backward()
    net = simulated(load_subnet(subnet).model, config.scheme)
    enc = net.encoder(batch.features_BTF, net.spec)
    logits = net.joiner.lattice(enc, net.predictor(batch.targets_BU), net.spec.joiner_dim)
    lens = encoder_lens(batch.frame_lens_B), batch.target_lens_B
    wanted = transducer_loss(logits, batch.targets_BU, *lens).loss_B.sum() / task.batch_tokens
    wanted.backward()
    torch.testing.assert_close(loss, wanted)
    grads = {name: p.grad for name, p in net.named_parameters()}
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(parameter.grad, grads[name], msg=name)


def test_plain_fine_tuning_simulates_nothing(
    subnet: Path, corpus: Artifact, tmp_path: Path
) -> None:
    config = make_config(scheme=Float32())
    assert task_of(config, subnet, corpus).twin is not None
    found: Any = run(config, subnet, corpus.path, tmp_path / "net").body["finetuned"]
    assert set(found["before"]) == set(found["after"]) == {"fp32"}
    assert found["after"]["fp32"]["loss"] < found["before"]["fp32"]["loss"]


def stop_at(step_of_death: int) -> Callable[..., Iterator[Tensor]]:
    losses = FinetuneTask.losses

    def stopped(self: FinetuneTask, batch: Batch, step: int) -> Iterator[Tensor]:
        if step == step_of_death:
            raise KeyboardInterrupt
        return losses(self, batch, step)

    return stopped


def test_a_stopped_run_goes_on_with_the_same_bits(
    subnet: Path,
    corpus: Artifact,
    tuned: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "net"
    for step in (6, 13):  # between checkpoints
        with monkeypatch.context() as patched:
            patched.setattr(FinetuneTask, "losses", stop_at(step))
            with pytest.raises(KeyboardInterrupt):
                run(make_config(), subnet, corpus.path, out)
        assert not out.exists()
    with pytest.raises(ArtifactError, match=r"another configuration \(seed is 0 there and 1 here"):
        run(make_config(seed=1), subnet, corpus.path, out)
    found = run(make_config(), subnet, corpus.path, out)
    assert (out / WEIGHTS).read_bytes() == (tuned.path / WEIGHTS).read_bytes()
    steps = [json.loads(line)["step"] for line in (out / LOG).read_text("utf-8").splitlines()]
    assert steps == sorted(steps)
    assert load_artifact(out, "subnet").digest == found.digest


def test_wrong_inputs_are_told_before_anything_is_written(
    subnet: Path, corpus: Artifact, tmp_path: Path
) -> None:
    out, config = tmp_path / "net", make_config()
    with pytest.raises(ArtifactError, match="is a corpus artifact, a subnet is needed"):
        run(config, corpus.path, corpus.path, out)
    wrong = OnnxDynamicInt8(fallbacks=("encoder.blocks.0.ffn",))
    with pytest.raises(ConfigError, match=r"no linear 'encoder.blocks.0.ffn'; there are .*ffn_in"):
        run(make_config(scheme=wrong), subnet, corpus.path, out)
    table = TokenTable(unit="char", symbols=("<blk>", "A", "B", "C"))
    spec = load_subnet(subnet).spec.model_copy(update={"vocab_size": table.size})
    other = written(Transducer(spec), table, tmp_path / "other", corpus)
    with pytest.raises(ConfigError, match="another token table"):
        run(config, other, corpus.path, out)
    with pytest.raises(ConfigError, match="batch_size 99 exceeds"):
        run(make_config(data=LoaderConfig(batch_size=99)), subnet, corpus.path, out)
    assert {path.name for path in tmp_path.iterdir()} == {"other"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"loss": {"form": "pruned"}}, "no subnet holds; take loss.form full"),
        ({"scheme": {"kind": "onnx_int4"}}, "onnx_dynamic_int8"),
        ({"run": {"strategy": "fsdp"}}, "unknown key 'run.strategy'"),
    ],
    ids=["pruned", "int4", "fsdp"],
)
def test_what_cannot_be_done_is_no_configuration(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        FinetuneConfig.parse(data, where="x")


def test_the_loss_may_be_of_a_recipe() -> None:
    loss = LossConfig(topology="one_symbol")
    assert make_config(loss=loss).deciding().loss == loss
    assert (
        make_config(run=FinetuneRun(threads=3)).deciding()
        == make_config(run=FinetuneRun()).deciding()
    )
