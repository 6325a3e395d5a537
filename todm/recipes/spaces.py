"""Search spaces: the largest net, and what every axis may take."""

from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, MixerSpec, PGNSpec
from todm.core.space import SearchSpace, spread_order
from todm.core.specs import BlockSpec, PredictorSpec, SubnetSpec


def uniform_net(
    vocab_size: int, *, layers: int, model_dim: int, ffn_dim: int, mixer: MixerSpec, joiner_dim: int
) -> SubnetSpec:
    """Return a net whose layers are all alike; the predictor is as wide as the model."""
    return SubnetSpec(
        model_dim=model_dim,
        blocks=tuple(
            BlockSpec(source_layer=layer, ffn_dim=ffn_dim, mixer=mixer) for layer in range(layers)
        ),
        predictor=PredictorSpec(embed_dim=model_dim),
        joiner_dim=joiner_dim,
        vocab_size=vocab_size,
    )


def tiny_space(vocab_size: int) -> SearchSpace:
    """Return the space of a few thousand weights."""
    mixer = MHSSMSpec(num_heads=4, head_dim=4, state_dim=4)
    return SearchSpace(
        largest=uniform_net(
            vocab_size, layers=3, model_dim=16, ffn_dim=32, mixer=mixer, joiner_dim=16
        ),
        depths=(1, 2, 3),
        depth_order=spread_order(3),
        ffn_dims=(16, 32),
        heads=(2, 4),
        state_dims=(2, 4),
        joiner_dims=(8, 16),
    )


SMALL_MIXERS: dict[str, tuple[MixerSpec, dict[str, tuple[int, ...]]]] = {
    "mhssm": (
        MHSSMSpec(num_heads=16, head_dim=8, state_dim=16),
        {"heads": (4, 8, 12, 16), "state_dims": (8, 12, 16)},
    ),
    "pgn": (
        PGNSpec(num_heads=16, head_dim=5, window=16),
        {"heads": (4, 8, 12, 16), "windows": (4, 8, 16)},
    ),
    "lssl": (
        LSSLSpec(num_heads=16, head_dim=8, state_dim=16),
        {"heads": (4, 8, 12, 16), "state_dims": (8, 12, 16)},
    ),
}
"""Mixers of the small space and what their axes may take. The largest of each kind costs about the
same: 55 to 58 thousand MACs a frame."""


def small_space(vocab_size: int, mixer: str = "mhssm") -> SearchSpace:
    """Return the space around 1.2 M parameters: 6 x 512 down to 2 x 128."""
    spec, axes = SMALL_MIXERS[mixer]
    return SearchSpace(
        largest=uniform_net(
            vocab_size, layers=6, model_dim=128, ffn_dim=512, mixer=spec, joiner_dim=128
        ),
        depths=(2, 3, 4, 5, 6),
        depth_order=spread_order(6),
        ffn_dims=(128, 256, 384, 512),
        joiner_dims=(64, 96, 128),
        **axes,
    )


def librispeech_space(vocab_size: int) -> SearchSpace:
    """Return the space from 6.0 to 66.4 M parameters (at 500 symbols)."""
    mixer = MHSSMSpec(num_heads=32, head_dim=16, state_dim=16)
    return SearchSpace(
        largest=uniform_net(
            vocab_size, layers=22, model_dim=512, ffn_dim=2112, mixer=mixer, joiner_dim=512
        ),
        depths=(7, 10, 13, 16, 19, 22),
        depth_order=spread_order(22),
        ffn_dims=(528, 1056, 1584, 2112),
        heads=(8, 16, 24, 32),
        state_dims=(8, 12, 16),
        joiner_dims=(128, 256, 384, 512),
    )
