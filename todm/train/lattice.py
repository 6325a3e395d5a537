"""One net's lattice in a step: the whole one, or the positions that each frame keeps.

Legend: B utterances, T encoder frames, U labels, U1 = U + 1 label positions, S kept positions of a
frame (the lattice's third axis is U1 in the full form, S in the pruned one), V symbols.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todm.core.config import LossConfig, PrunedConfig
from todm.losses.backends import Backend
from todm.losses.transducer import TransducerLoss
from todm.models.rnnt import Transducer


@dataclass(frozen=True, eq=False)
class Encoded:
    """What a net's lattice is made of."""

    enc_BTD: Tensor
    pred_BUE: Tensor
    """The predictor's output after each prefix of the targets, (B, U1, E)."""
    targets_BU: Tensor
    frame_lens_B: Tensor
    """Encoder frames."""
    target_lens_B: Tensor


@dataclass(frozen=True, eq=False)
class Lattice:
    """Logits and losses at the nodes of one form."""

    logits_BTUV: Tensor
    node_mask_BTU: Tensor
    """Which nodes are real: inside the utterance and, in the pruned form, kept."""
    loss: TransducerLoss
    objective_B: Tensor
    """What the net learns from: the loss, or pruned and simple loss as the warm-up weighs them."""
    start_BT: Tensor | None
    """First kept position of each frame; None in the full form."""


def lattice_of(
    model: Transducer,
    encoded: Encoded,
    joiner_dim: int,
    config: LossConfig,
    backend: Backend,
    *,
    step: int,
    start_BT: Tensor | None,
) -> Lattice:
    """Run the joiner and the loss of a net in the form that the configuration asks for.

    ``start_BT`` are the kept positions of another net, or None; the full form keeps all.
    """
    if config.form == "full":
        return _full(model, encoded, joiner_dim, config, backend)
    return _pruned(model, encoded, joiner_dim, config, backend, step=step, start_BT=start_BT)


def _full(
    model: Transducer, encoded: Encoded, joiner_dim: int, config: LossConfig, backend: Backend
) -> Lattice:
    """Run the joiner on every node."""
    logits_BTUV = model.joiner.lattice(encoded.enc_BTD, encoded.pred_BUE, joiner_dim)
    loss = backend.full(
        logits_BTUV,
        encoded.targets_BU,
        encoded.frame_lens_B,
        encoded.target_lens_B,
        **_options(config),
    )
    u_U = torch.arange(logits_BTUV.shape[2], device=logits_BTUV.device)
    return Lattice(logits_BTUV, _node_mask(encoded, u_U[None, None]), loss, loss.loss_B, None)


def _pruned(
    model: Transducer,
    encoded: Encoded,
    joiner_dim: int,
    config: LossConfig,
    backend: Backend,
    *,
    step: int,
    start_BT: Tensor | None,
) -> Lattice:
    """Run the joiner on the kept nodes: those of ``start_BT``, or those that a simple loss finds.

    With another net's positions there is no simple loss. An utterance without a path over its
    kept nodes learns nothing, from the simple loss neither.
    """
    assert model.simple is not None, "the pruned form needs Transducer(spec, simple=True)"
    assert backend.simple is not None, "the configuration refuses such a backend"
    assert backend.pruned is not None, "likewise"
    width = min(config.pruned.s_range, encoded.pred_BUE.shape[1])
    lens = encoded.frame_lens_B, encoded.target_lens_B
    simple_B = None
    if start_BT is None:
        simple_B, start_BT = backend.simple(
            *model.simple(encoded.enc_BTD, encoded.pred_BUE),
            encoded.targets_BU,
            *lens,
            width=width,
            lm_scale=config.pruned.lm_scale,
            am_scale=config.pruned.am_scale,
            **_options(config),
        )
    logits_BTSV = model.joiner.kept_nodes(
        encoded.enc_BTD, encoded.pred_BUE, joiner_dim, start_BT, width
    )
    loss = backend.pruned(logits_BTSV, encoded.targets_BU, start_BT, *lens, **_options(config))
    pruned_scale, simple_scale = warmup_scales(config.pruned, step)
    objective_B = pruned_scale * loss.loss_B
    if simple_B is not None:
        objective_B = objective_B + simple_scale * simple_B * loss.valid_B
    u_BTS = start_BT[:, :, None] + torch.arange(width, device=start_BT.device)
    return Lattice(logits_BTSV, _node_mask(encoded, u_BTS), loss, objective_B, start_BT)


def warmup_scales(config: PrunedConfig, step: int) -> tuple[float, float]:
    """Return the weights of the pruned and of the simple loss at a step.

    Source: Kuang et al., 2022 (arXiv 2206.13236) and icefall's recipes: linear over the warm-up,
    0.1 to 1 and 1 to 0.5.
    """
    done = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    pruned = config.start_scale + (1.0 - config.start_scale) * done
    return pruned, 1.0 + (config.simple_scale - 1.0) * done


def _options(config: LossConfig) -> dict[str, Any]:
    return {
        "topology": config.topology,
        "delay_penalty": config.delay_penalty,
        "fastemit": config.fastemit,
    }


def _node_mask(encoded: Encoded, u_BTU: Tensor) -> Tensor:
    t_T1 = torch.arange(encoded.enc_BTD.shape[1], device=u_BTU.device)[:, None]
    in_time_BT1 = t_T1 < encoded.frame_lens_B[:, None, None]
    return in_time_BT1 & (u_BTU <= encoded.target_lens_B[:, None, None])
