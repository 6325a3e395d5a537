"""How much each encoder layer matters: the depth order of a space, measured.

Of a trained largest net every block is left out in turn, and the encoder's outputs are compared
with the whole net's on the same recordings:

    importance(j) = sum |e - e without j|^2 / sum |e|^2      over all real frames

The order keeps the most important layers longest. Normalised MSE as a ranking of layers is that
of Nemotron Elastic (2025, arXiv 2511.16664), which takes it at the output of the language model;
here it is taken at the encoder's output, which the joiner reads.

The order is an input of a training (``space.depth_order``), not a state of one: a space that
changed within a run would make the nets of its first and second part different ones under one
name, and its configuration would no longer say what was trained. So there are two runs: the
largest net alone, then the supernet (from the start, or from the first one's weights).

Legend: T frames, D model width.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from todm.core.data_config import Split
from todm.data.manifest import open_corpus
from todm.models.rnnt import Transducer
from todm.models.scoring import Sample, corpus_samples
from todm.models.store import load_supernet


def measured_order(
    supernet: Path, corpus: Path, *, split: Split = "dev", utterances: int | None = 200
) -> tuple[int, ...]:
    """Return the depth order that a trained supernet's largest net asks for.

    Args:
        supernet: A supernet artifact; its largest net must have been trained.
        corpus: Its corpus.
        split: Where to measure.
        utterances: At most so many, spread evenly; None takes all.

    Raises:
        ConfigError: the corpus has another token table.
        DataError: the split is empty.
    """
    opened = load_supernet(supernet)
    samples = corpus_samples(open_corpus(corpus, verify=False), opened.table, split, utterances)
    return depth_order(layer_importance(opened.model, samples))


def depth_order(importance: Sequence[float]) -> tuple[int, ...]:
    """Return the layers by falling importance; of equals the lower comes first."""
    return tuple(sorted(range(len(importance)), key=lambda layer: -importance[layer]))


@torch.inference_mode()
def layer_importance(model: Transducer, samples: Sequence[Sample]) -> list[float]:
    """Return the normalised MSE of leaving out each layer of the largest net."""
    spec = model.spec
    without = [
        spec.model_copy(update={"blocks": spec.blocks[:j] + spec.blocks[j + 1 :]})
        for j in range(len(spec.blocks))
    ]
    lost = torch.zeros(len(without), dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    model.eval()
    for sample in samples:
        front_BTD = model.encoder.front(sample.features_TF[None])
        whole_BTD = model.encoder.body(front_BTD, spec).double()
        total += whole_BTD.square().sum()
        for layer, smaller in enumerate(without):
            cut_BTD = model.encoder.body(front_BTD, smaller).double()
            lost[layer] += (whole_BTD - cut_BTD).square().sum()
    return [float(value) for value in lost / total]
