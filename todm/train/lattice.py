"""One net's lattice in a step: the whole one, or the positions that each frame keeps.

Legend: B utterances, T encoder frames, U label positions (of the lattice's third axis: all in the
full form, the S kept ones of each frame in the pruned one), V symbols.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todm.core.config import LossConfig, PrunedConfig
from todm.losses.backends import Backend
from todm.losses.transducer import TransducerLoss
from todm.models.rnnt import Transducer
from todm.train.part import Part


@dataclass(frozen=True, eq=False)
class Lattice:
    """Logits and losses at the nodes of one form."""

    logits_BTUV: Tensor
    loss: TransducerLoss
    """Of the joiner, without a simple loss."""
    objective_B: Tensor
    """What the net learns from: the loss, or pruned and simple loss as the warm-up weighs them."""
    start_BT: Tensor | None
    """First kept position of each frame; None in the full form."""


@dataclass(frozen=True, eq=False)
class LatticeForm:
    """How a training makes lattices: of which model, in which form, with whose losses."""

    model: Transducer
    config: LossConfig
    backend: Backend

    def run(
        self, enc_BTD: Tensor, part: Part, joiner_dim: int, step: int, start_BT: Tensor | None
    ) -> Lattice:
        """Run joiner and loss of a net on its encoder's output.

        ``start_BT`` are the kept positions of another net, or None; the full form keeps all.
        """
        if self.config.form == "full":
            return self._full(enc_BTD, part, joiner_dim)
        return self._pruned(enc_BTD, part, joiner_dim, step, start_BT)

    def _full(self, enc_BTD: Tensor, part: Part, joiner_dim: int) -> Lattice:
        logits_BTUV = self.model.joiner.lattice(enc_BTD, part.pred_BUE, joiner_dim)
        lens = part.lens_B, part.target_lens_B
        loss = self.backend.full(logits_BTUV, part.targets_BU, *lens, **self._options)
        return Lattice(logits_BTUV, loss, loss.loss_B, None)

    def _pruned(
        self, enc_BTD: Tensor, part: Part, joiner_dim: int, step: int, start_BT: Tensor | None
    ) -> Lattice:
        """Keep the positions of ``start_BT``, or those that a simple loss of the net's own finds.

        An utterance without a path over its kept nodes learns nothing, from the simple loss
        neither.
        """
        assert self.backend.pruned is not None, "the configuration refuses such a backend"
        width = min(self.config.pruned.s_range, part.pred_BUE.shape[1])
        lens = part.lens_B, part.target_lens_B
        simple_B = None
        if start_BT is None:
            simple_B, start_BT = self._simple(enc_BTD, part, width)
        logits_BTSV = self.model.joiner.kept_nodes(
            enc_BTD, part.pred_BUE, joiner_dim, start_BT, width
        )
        loss = self.backend.pruned(logits_BTSV, part.targets_BU, start_BT, *lens, **self._options)
        pruned_scale, simple_scale = warmup_scales(self.config.pruned, step)
        objective_B = pruned_scale * loss.loss_B
        if simple_B is not None:
            objective_B = objective_B + simple_scale * simple_B * loss.valid_B
        return Lattice(logits_BTSV, loss, objective_B, start_BT)

    def _simple(self, enc_BTD: Tensor, part: Part, width: int) -> tuple[Tensor, Tensor]:
        """Return the simple loss of each utterance and the first kept position of each frame."""
        assert self.model.simple is not None, "the pruned form needs Transducer(spec, simple=True)"
        assert self.backend.simple is not None, "the configuration refuses such a backend"
        return self.backend.simple(
            *self.model.simple(enc_BTD, part.pred_BUE),
            part.targets_BU,
            part.lens_B,
            part.target_lens_B,
            width=width,
            lm_scale=self.config.pruned.lm_scale,
            am_scale=self.config.pruned.am_scale,
            **self._options,
        )

    @property
    def _options(self) -> dict[str, Any]:
        names = ("topology", "delay_penalty", "fastemit")
        return {name: getattr(self.config, name) for name in names}


def warmup_scales(config: PrunedConfig, step: int) -> tuple[float, float]:
    """Return the weights of the pruned and of the simple loss at a step.

    Source: Kuang et al., 2022 (arXiv 2206.13236) and icefall's recipes: linear over the warm-up,
    0.1 to 1 and 1 to 0.5.
    """
    done = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    pruned = config.start_scale + (1.0 - config.start_scale) * done
    return pruned, 1.0 + (config.simple_scale - 1.0) * done


def starts_of_rows(start_BT: Tensor, rows: list[int] | None, frames: int) -> Tensor:
    """Return the kept positions of some utterances (None: of all), cut to a part's frames."""
    if rows is None:
        return start_BT
    return start_BT[torch.tensor(rows, device=start_BT.device), :frames]
