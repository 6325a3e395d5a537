"""The one place that turns a mixer spec into a module."""

from todm.core.specs import MHSSMSpec, MixerSpec
from todm.layers.mhssm import MHSSM


def build_mixer(model_dim: int, spec: MixerSpec) -> MHSSM:
    """Build the mixer that a spec names."""
    match spec:
        case MHSSMSpec():
            return MHSSM(model_dim, spec)
