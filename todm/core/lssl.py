"""The sizes and choices of linear state-space layers (Gu et al. 2021, arXiv 2110.13985)."""

from typing import Literal

from pydantic import Field, model_validator

from todm.core.value import Value

StateKind = Literal["legs", "legt", "lagt", "random"]
"""Which matrices A and B a state starts from; ``kernels.hippo`` has them."""
Learn = Literal["fixed", "dt", "dt_a"]
"""What trains beside C and D: nothing, the step sizes, or these and the factors of A and B."""


class LSSLLayerSpec(Value):
    """A stand-alone layer: every feature has a step size, an order-N state and M outputs."""

    state_dim: int = Field(ge=1)
    """Order of the state, N."""
    num_outputs: int = Field(default=1, ge=1)
    """Outputs of each feature, M."""
    state: StateKind = "legs"
    learn: Learn = "dt_a"
    alpha: float = Field(default=0.5, ge=0.0, le=1.0)
    """Discretisation: 0 Euler, 1/2 bilinear, 1 backward Euler."""
    dt_min: float = Field(gt=0.0, allow_inf_nan=False)
    """Least and largest step size at birth, drawn log-uniformly: the paper's rule is a range a
    factor 100 wide whose inverse brackets the length, so [1 / L, 100 / L]."""
    dt_max: float = Field(gt=0.0, allow_inf_nan=False)
    per_feature: bool = False
    """A and B of each feature's own instead of one for all."""
    full_t: bool = False
    """Train all three diagonals of T, which no longer keeps A stable by construction: the chunk
    form refuses an A that became unstable."""

    @model_validator(mode="after")
    def _choices_fit(self) -> "LSSLLayerSpec":
        if self.dt_min >= self.dt_max:
            raise ValueError(f"dt_min {self.dt_min} must be below dt_max {self.dt_max}")
        if self.learn != "dt_a":
            if self.full_t or self.per_feature:
                raise ValueError("full_t and per_feature say how A trains: they need learn dt_a")
        elif self.state == "random":
            raise ValueError("a random A has no factors to train; learn dt or fixed")
        elif self.state == "legt" and not self.full_t:
            raise ValueError("the factor T of LegT is tridiagonal: learn dt_a needs full_t")
        return self
