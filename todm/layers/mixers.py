"""The one place that turns a mixer spec into a module."""

from typing import Any, assert_never

from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, MixerSpec, PGNSpec
from todm.layers.lssl_mixer import LSSLMixer
from todm.layers.mhssm import MHSSM
from todm.layers.mixer import Mixer
from todm.layers.pgn_mixer import PGNMixer


def build_mixer(model_dim: int, spec: MixerSpec) -> Mixer[Any, Any]:
    """Build the mixer that a spec names."""
    match spec:
        case MHSSMSpec():
            return MHSSM(model_dim, spec)
        case PGNSpec():
            return PGNMixer(model_dim, spec)
        case LSSLSpec():
            return LSSLMixer(model_dim, spec)
        case _:
            assert_never(spec)
