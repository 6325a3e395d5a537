"""The differential equation inside a linear state-space layer, as a module.

Legend: H heads (features of a classifier), N state order, G = H or 1, J = N - 1, T frames.

A is kept by its factors (``kernels.structured``), p and q as logarithms and s as softplus(.) - 1,
so that it stays stable while it trains; B = p b. A random or hand-set A is kept whole. What does
not train is a buffer; where nothing trains the Krylov matrix is made once, in float64, and kept.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.errors import ConfigError
from todm.core.lssl import Learn, StateKind
from todm.kernels.hippo import (
    Transition,
    check_stable,
    check_steps,
    eigenvalues,
    random_transition,
)
from todm.kernels.lssl import (
    LSSLFold,
    Readout,
    Steps,
    discretise,
    discretise_ref,
    krylov,
    lssl_fold,
)
from todm.kernels.structured import Structure, dense_ref, factors


class Dynamics(nn.Module):
    """A, B and dt of every head; a call may ask for a prefix of heads and of the state."""

    log_dt: Tensor
    a: Tensor
    b: Tensor
    log_p: Tensor
    log_q: Tensor
    raw_s: Tensor
    t_lower: Tensor
    t_diag: Tensor
    t_upper: Tensor

    def __init__(
        self,
        start: StateKind | Transition,
        order: int,
        log_dt_H: Tensor,
        *,
        learn: Learn,
        alpha: float = 0.5,
        groups: int = 1,
        full_t: bool = False,
    ) -> None:
        """Start from matrices by name, or from hand-set ones.

        Raises:
            ConfigError: a hand-set A is unstable or is to train; the steps are too long for alpha.
        """
        super().__init__()
        self.learn, self.alpha, self.rate = learn, alpha, 1.0
        self._cached: tuple[tuple[object, ...], Tensor] | None = None
        self._keep("log_dt", log_dt_H, trains=learn != "fixed")
        self.structured = isinstance(start, str) and start != "random"
        if isinstance(start, str) and start != "random":
            self._keep_factors(factors(start, order), groups, full_t=full_t)
        else:
            whole = random_transition(order) if isinstance(start, str) else start
            check_stable(whole.a_NN)
            if learn == "dt_a":
                raise ConfigError(
                    "a random or hand-set A has no factors to train; learn dt or fixed"
                )
            self._keep("a", whole.a_NN[None], trains=False)
            self._keep("b", whole.b_N[None], trains=False)
        check_steps(self.eigenvalues(), self.dt().detach(), alpha)

    def _keep(self, name: str, value: Tensor, *, trains: bool) -> None:
        value = value.to(torch.get_default_dtype()).contiguous()
        if trains:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    def _keep_factors(self, family: Structure, groups: int, *, full_t: bool) -> None:
        parts = {
            "log_p": family.p_GN.log(),
            "log_q": family.q_GN.log(),
            "raw_s": torch.expm1(family.s_GN + 1.0).log(),
            "b": torch.ones_like(family.p_GN),
            "t_lower": family.lower_GJ,
        }
        if full_t or family.upper_GJ is not None:
            none = torch.zeros_like(family.lower_GJ)
            parts["t_diag"] = family.diag_GN
            parts["t_upper"] = none if family.upper_GJ is None else family.upper_GJ
        for name, value_1X in parts.items():
            self._keep(name, value_1X.repeat(groups, 1), trains=self.learn == "dt_a")

    @property
    def order(self) -> int:
        """The whole state's order."""
        return self.b.shape[1]

    def dt(self, heads: int | None = None) -> Tensor:
        """Return the step sizes at the present rate."""
        return self.rate * self.log_dt[:heads].exp()

    def family(self, heads: int | None = None, order: int | None = None) -> Structure:
        """Return the factors of -A."""
        p_GN, q_GN = self.log_p[:heads, :order].exp(), self.log_q[:heads, :order].exp()
        s_GN = F.softplus(self.raw_s[:heads, :order]) - 1.0
        lower_GJ = self.t_lower[:heads, : p_GN.shape[1] - 1]
        if not hasattr(self, "t_upper"):
            return Structure(p_GN, q_GN, s_GN, torch.ones_like(p_GN), lower_GJ)
        return Structure(p_GN, q_GN, s_GN, self.t_diag, lower_GJ, self.t_upper)

    def eigenvalues(self) -> Tensor:
        """Return the eigenvalues of A of every group."""
        with torch.no_grad():
            if not self.structured:
                return torch.stack([eigenvalues(a_NN) for a_NN in self.a])
            family = self.family()
            if family.upper_GJ is None:
                return -family.p_GN * family.q_GN * (family.s_GN + 1.0)
            return torch.stack([eigenvalues(a_NN) for a_NN in dense_ref(family)])

    def steps(self, heads: int | None = None, order: int | None = None) -> Steps:
        """Return the discretised equation.

        Raises:
            ConfigError: below alpha 1/2, a step has become too long to be stable.
        """
        dt_H = self.dt(heads)
        if self.alpha < 0.5:
            check_steps(self.eigenvalues()[:heads, :order], dt_H.detach(), self.alpha)
        if not self.structured:
            return discretise_ref(self.a, self.b, dt_H, self.alpha)
        family = self.family(heads, order)
        b_GN = family.p_GN * self.b[:heads, :order]
        return discretise(family, b_GN, dt_H, self.alpha)

    def krylov(self, num_frames: int, heads: int | None = None, order: int | None = None) -> Tensor:
        """Return the Krylov matrix over T frames, (H, N, T)."""
        if self.learn != "fixed":
            return krylov(self.steps(heads, order), num_frames)
        key = self._key()
        if self._cached is None or self._cached[0] != key or self._cached[1].shape[2] < num_frames:
            with torch.inference_mode(False), torch.no_grad():  # a training may take it next
                exact = krylov(self.exact().steps(), num_frames).to(self.log_dt.dtype)
            self._cached = key, exact
        return self._cached[1][:heads, :order, :num_frames]

    def fold(
        self,
        readout: Readout,
        chunk_frames: int,
        heads: int | None = None,
        order: int | None = None,
    ) -> LSSLFold:
        """Return the constants of the chunk form; made in float64, in the read-out's dtype.

        Raises:
            ConfigError: all of T trained and A became unstable: a stream has no end.
        """
        exact = self.exact()
        if self.learn == "dt_a" and hasattr(self, "t_upper"):
            with torch.no_grad():
                for a_NN in dense_ref(exact.family()):
                    check_stable(a_NN)
        with torch.autocast(readout.c_HMN.device.type, enabled=False):
            wide = Readout(readout.c_HMN.double(), readout.d_HM.double())
            constants = lssl_fold(exact.steps(heads, order), wide, chunk_frames)
        return LSSLFold(*(part.to(readout.c_HMN.dtype) for part in constants))

    def exact(self) -> "Dynamics":
        """Return a copy in float64."""
        other = copy.copy(self)
        other._cached = None
        return copy.deepcopy(other).double()

    def _key(self) -> tuple[object, ...]:
        """What the kept Krylov matrix depends on: values written in place have a new version."""
        buffers = tuple((id(b), b._version) for b in self.buffers())
        return (self.rate, self.log_dt.dtype, self.log_dt.device, buffers)

    def set_rate(self, rate: float) -> None:
        """Let an input that keeps every ``rate``-th frame stand for the same signal.

        The steps of Abar and of Bbar both become ``rate`` times those that were trained (the
        published code leaves Bbar at the old ones, which halves the output at half the rate).

        Raises:
            ConfigError: the rate is no positive number.
        """
        if not (math.isfinite(rate) and rate > 0.0):
            raise ConfigError(f"a rate of {rate} is no positive number; 2 keeps every second frame")
        self.rate = rate
        check_steps(self.eigenvalues(), self.dt().detach(), self.alpha)
