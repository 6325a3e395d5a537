"""Fine-tuning with what the subnet's lineage knows: its corpus, its recipe's data and loss."""

from pathlib import Path

from todm.core.artifact import Artifact, load_artifact
from todm.core.finetune_config import FinetuneConfig
from todm.core.profile import DeviceProfile
from todm.core.quantization import OnnxDynamicInt8, XnnpackDynamicInt8
from todm.core.specs import SubnetSpec
from todm.flows.lineage import corpus_of
from todm.models.store import SPEC
from todm.recipes import RECIPES, recipe
from todm.runtimes.bundle import PROFILE
from todm.train.finetune_run import run


def base_config(subnet: Path) -> FinetuneConfig:
    """Return the configuration that suits a subnet before anything is overridden.

    Batches and loss are those of the recipe of its supernet, where that is one of todm's; int8 is
    that of its device's runtime.

    Raises:
        ArtifactError: it is no subnet.
    """
    source = load_artifact(subnet, "subnet", verify=False)
    config = FinetuneConfig()
    name = source.body.get("recipe")
    if isinstance(name, str) and name in RECIPES:
        made = recipe(name, SubnetSpec.read_json(source.file(SPEC)).vocab_size)
        loss = made.loss.model_copy(update={"form": "full"})
        config = config.model_copy(update={"data": made.data, "loss": loss})
    return config.model_copy(update={"scheme": int8_of(source)})


def int8_of(subnet: Artifact) -> OnnxDynamicInt8 | XnnpackDynamicInt8:
    """Return the int8 scheme of the runtime that a subnet was extracted for."""
    if PROFILE not in subnet.manifest.files:
        return OnnxDynamicInt8()
    device = DeviceProfile.read_json(subnet.file(PROFILE))
    return XnnpackDynamicInt8() if device.runtime == "executorch" else OnnxDynamicInt8()


def finetune(
    subnet: Path, out: Path, config: FinetuneConfig, *, corpus: Path | None = None
) -> Artifact:
    """Fine-tune a subnet, by default on the corpus that it was made with.

    Raises:
        ArtifactError: an input is not what it should be, or the corpus is gone.
        ConfigError: the configuration does not fit the subnet or the corpus.
        GateError: training diverged.
    """
    return run(config, subnet, corpus or corpus_of(subnet), out)
