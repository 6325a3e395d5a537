"""Wrong inputs of ``todm prepare`` and ``todm train-supernet``, and wrong profiles."""

from pathlib import Path

import numpy as np
from wrong_inputs import EXTRACT, PREPARE, TONE_S, TRAIN, Case, profile, recording, text

CASES = [
    Case("no such folder", "prepare transcripts --path gone --out new", 2, "gone.*no such"),
    Case("no such corpus", "prepare nonesuch --out new", 2, "no corpus 'nonesuch'; known: .*fsdd"),
    Case(
        "empty corpus folder",
        "prepare transcripts --path empty --out new",
        2,
        r"empty/transcripts\.tsv",
        lambda _: Path("empty").mkdir(),
    ),
    Case("corpus dir not given", "prepare fsdd --out new", 2, "--corpus-dir or TODM_CORPORA"),
    Case("unknown --set key", PREPARE + " --set tokns.unit=bpe", 2, "unknown key 'tokns'; known: "),
    Case("--set without =", PREPARE + " --set seed", 2, "write it as key=value"),
    Case("wrong --set value", PREPARE + " --set seed=many", 2, "--set seed=many: seed: .*integer"),
    Case("config not JSON", "prepare --config c.json --out new", 2, "as JSON", text("c.json", "{")),
    Case(
        "config with a TOML slip",
        "prepare --config c.toml --out new",
        2,
        "as TOML",
        text("c.toml", "name = "),
    ),
    Case(
        "config with an unknown key",
        "prepare --config c.toml --out new",
        2,
        "unknown key 'nmae'",
        text("c.toml", 'name = "x"\nnmae = "x"\n[source]\ncorpus = "espeak"\n'),
    ),
    Case("config missing", "prepare --config gone.toml --out new", 2, "gone.toml: no such file"),
    Case("config of another form", "prepare --config c.yaml --out new", 2, "a .json or .toml file"),
    Case(
        "no column",
        PREPARE,
        2,
        "no column 'speaker'",
        lambda chain: (chain.speech / "transcripts.tsv").write_text("utt_id\ttext\n", "utf-8"),
    ),
    Case(
        "out is no artifact",
        PREPARE.replace("--out new", "--out {speech}"),
        2,
        "is no todm artifact; choose another --out",
    ),
    Case("corpus and config", PREPARE + " --config c.toml", 2, "either the name of a corpus or"),
    Case("unknown option", PREPARE + " --fast", 2, "--fast"),
    Case("no profile file", EXTRACT + " --device gone.toml", 2, "gone.toml: no such file"),
    Case("unknown profile", EXTRACT + " --device gameboy", 2, "'gameboy'; shipped: .*raspberry"),
    Case(
        "profile with an unknown key",
        EXTRACT + " --device p.toml",
        2,
        "unknown key 'thraeds'",
        profile("p.toml", "threads", "thraeds"),
    ),
    Case(
        "stereo in a corpus",
        PREPARE + " --strict",
        2,
        "has 2 channels, mono is needed",
        recording(np.stack([TONE_S, TONE_S], 1)),
    ),
    Case("empty audio in a corpus", PREPARE + " --strict", 2, "no audio", recording(TONE_S[:0])),
    Case(
        "NaN in a corpus", PREPARE + " --strict", 2, "sample 0 is NaN", recording(TONE_S * np.nan)
    ),
    Case(
        "no audio at all",
        PREPARE + " --strict",
        2,
        "not readable as audio",
        lambda chain: (chain.speech / "train0.wav").write_text("MP3, honestly"),
    ),
    Case(
        "duplicate id",
        PREPARE + " --strict",
        2,
        "id 'dev0' stands at",
        lambda chain: (
            (chain.speech / "transcripts.tsv").open("a").write("dev0\ts\ta\tdev0.wav\tdev\n")
        ),
    ),
    Case("unknown recipe", TRAIN + " --recipe larger", 2, "no recipe 'larger'; there are .*tiny"),
    Case("no recipe", TRAIN, 2, "give one of --recipe .*, --config and --resume"),
    Case(
        "unknown key of a recipe",
        TRAIN + " --recipe tiny --set optim.rate=1",
        2,
        "unknown key 'rate' in optim; known: kind, lr",
    ),
    Case("impossible value", TRAIN + " --recipe tiny --set optim.lr=-1", 2, "optim.lr.*greater"),
    Case(
        "wrong kind of artifact",
        "train-supernet --recipe tiny --corpus {supernet} --out new",
        2,
        "is a supernet artifact, a corpus is needed",
    ),
    Case(
        "another vocabulary",
        TRAIN + " --config c.json",
        2,
        "vocab_size is 99 but .* has 9 tokens",
        lambda chain: Path("c.json").write_text(
            (chain.supernet / "config.json")
            .read_text()
            .replace('"vocab_size": 9', '"vocab_size": 99')
        ),
    ),
]
