"""Which parameters an optimizer treats how, and AdamW with ScaledAdam's clipping."""

import io
import math
import statistics

import pytest
import torch
from torch import Tensor

from todm.core.config import OptimConfig
from todm.core.errors import ArtifactError, ConfigError
from todm.core.space import SearchSpace
from todm.models.rnnt import Transducer
from todm.optim.adamw import ClippedAdamW
from todm.optim.build import build_optimizer, row_cuts
from todm.recipes import recipe
from todm.recipes.spaces import small_space

SPACE = recipe("tiny", 7).space
SSM = ("log_neg_re", "im", "log_dt", "log_p", "log_q", "raw_s", "t_lower", "b")


def make_model(seed: int = 0) -> Transducer:
    torch.manual_seed(seed)
    return Transducer(SPACE.largest)


def set_grads(params: list[Tensor], step: int) -> None:
    g = torch.Generator().manual_seed(step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=g)


@pytest.mark.parametrize("mixer", ["mhssm", "lssl"])
def test_state_space_parameters_have_a_rate_of_their_own(mixer: str) -> None:
    model = Transducer(small_space(7, mixer).largest)
    for kind in ("scaled_adam", "adamw"):
        config = OptimConfig.parse({"kind": kind, "lr": 0.02, "ssm_lr": 0.001}, where="test")
        optimizer = build_optimizer(model, config, SPACE)
        optimizer.set_factor(0.5)
        rates = {
            id(p): group["lr"] for group in optimizer.inner.param_groups for p in group["params"]
        }
        assert len(rates) == len(list(model.parameters()))
        for name, p in model.named_parameters():
            assert rates[id(p)] == (0.0005 if name.rpartition(".")[2] in SSM else 0.01)


def test_weight_decay_is_for_matrices() -> None:
    model = make_model()
    config = OptimConfig(kind="adamw", lr=0.01, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    build_optimizer(model, config).step()
    for name, p in model.named_parameters():
        decayed = p.dim() > 1 and name.rpartition(".")[2] not in SSM
        expected = before[name] * (1.0 - 0.01 * 0.1) if decayed else before[name]
        torch.testing.assert_close(p.detach(), expected)


def adamw(params: list[Tensor], scale: float = math.inf) -> ClippedAdamW:
    return ClippedAdamW(params, lr=0.01, betas=(0.9, 0.98), weight_decay=0.1, clipping_scale=scale)


def test_adamw_is_torchs() -> None:
    ours, theirs = list(make_model(1).parameters()), list(make_model(1).parameters())
    one = adamw(ours)
    other = torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.98), weight_decay=0.1, foreach=False)
    for step in range(20):
        set_grads(ours, step)
        set_grads(theirs, step)
        one.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_adamw_clips_skips_and_goes_on_from_a_checkpoint() -> None:
    params = list(make_model(2).parameters())
    optimizer = adamw(params, scale=1.0)
    norms: list[float] = []
    for step in range(12):
        set_grads(params, step)
        if step == 10:
            torch._foreach_mul_([p.grad for p in params], 1000.0)
        optimizer.step()
        if step == 10:  # brought down to twice the median of the first ten norms
            now = float(torch.nn.utils.get_total_norm([p.grad for p in params]))
            assert now == pytest.approx(2.0 * statistics.median(norms), rel=1e-4)
        norms.append(optimizer.last_grad_norm)
    before = [p.detach().clone() for p in params]
    params[0].grad.view(-1)[0] = math.nan
    optimizer.step()
    assert optimizer.last_step_skipped
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))

    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    twins = [p.detach().clone().requires_grad_() for p in params]
    twin = adamw(twins, scale=1.0)
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    for step in range(20, 24):
        set_grads(params, step)
        set_grads(twins, step)
        optimizer.step()
        twin.step()
    assert all(torch.equal(p, q) for p, q in zip(params, twins, strict=True))


def space_of(gating: str) -> SearchSpace:
    """The tiny space with every part that its mixer can have."""
    top = SPACE.largest
    form = {"gating": gating, "conv_frames": 3, "backward": True}
    blocks = tuple(
        b.model_copy(update={"mixer": b.mixer.model_copy(update=form)}) for b in top.blocks
    )
    return SPACE.model_copy(update={"largest": top.model_copy(update={"blocks": blocks})})


@pytest.mark.parametrize(
    "space",
    [
        *map(space_of, ("out_glu", "head_glu", "pairs", "none")),
        *(small_space(7, mixer) for mixer in ("pgn", "lssl")),
    ],
    ids=["out_glu", "head_glu", "pairs", "none", "pgn", "lssl"],
)
def test_rows_are_cut_where_subnets_end(space: SearchSpace) -> None:
    """Exactly the tensors of which the smallest net keeps fewer rows, and there first."""
    small = dict(Transducer(space.smallest).named_parameters())
    cut = 0
    for name, p in Transducer(space.largest).named_parameters():
        if name in small and name.rpartition(".")[2] not in SSM and p.dim() > 0:
            rows = small[name].shape[0]
            cuts = tuple(row_cuts(name, space))
            assert cuts[:1] == (() if rows == p.shape[0] else (rows,)), name
            cut += len(cuts) > 0
    assert cut > 10


def test_row_blocks_train_and_need_a_space() -> None:
    config = OptimConfig(rms="row_block")
    model, twin = make_model(3), make_model(3)
    blocks = build_optimizer(model, config, SPACE)
    whole = build_optimizer(twin, OptimConfig(), SPACE)
    for step in range(5):
        set_grads(list(model.parameters()), step)
        set_grads(list(twin.parameters()), step)
        blocks.step()
        whole.step()
    same = {
        name: torch.equal(p, q)
        for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True)
    }
    assert same["joiner.to_vocab.weight"]
    assert not same["encoder.blocks.0.ffn_in.weight"]
    with pytest.raises(ConfigError, match="search space"):
        build_optimizer(model, config)


def test_keys_without_effect_are_refused() -> None:
    for wrong in ({"kind": "adamw", "rms": "row_block"}, {"weight_decay": 0.1}):
        with pytest.raises(ConfigError, match="no effect"):
            OptimConfig.parse(wrong, where="test")


def test_the_state_of_a_spread_net_is_refused_in_one_line() -> None:
    optimizer = build_optimizer(make_model(), OptimConfig())
    spread = {"ranks": [optimizer.state_dict(), optimizer.state_dict()]}
    with pytest.raises(ArtifactError, match=r"of 2 processes with run\.strategy fsdp; go on with"):
        optimizer.load_state_dict(spread)


@pytest.mark.parametrize("betas", [(0.9, 1.5), (0.9, 1.0), (1.0, 0.98), (-0.1, 0.98)])
def test_betas_that_never_forget_are_refused(betas: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="betas"):
        OptimConfig.parse({"betas": betas}, where="test")
