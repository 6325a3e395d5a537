"""Small stand-ins for FSDD and AN4, spoken by espeak-ng: isolated digits, and digit strings.

They have the layout of the real corpora, so that ``--quick`` takes the same way through every
stage. Nothing can be learned from them in the few steps that it trains.
"""

from pathlib import Path

from todm.core.data_config import SPLITS, PrepareConfig, SourceConfig, StringConfig, TokenConfig
from todm.data.corpora.transcripts_tsv import NEEDED, TABLE_NAME
from todm.data.manifest import Corpus, open_corpus
from todm.flows.stages import StageBook
from todm.prepare.run import run as run_prepare

SPOKEN = {
    "fsdd": StringConfig(min_words=1, max_words=1, num_train=42, num_dev=21, num_test=21),
    "an4": StringConfig(min_words=2, max_words=6, num_train=24, num_dev=44, num_test=12),
}


def write_corpora(book: StageBook) -> Path:
    """Speak both corpora and return the folder that holds them by name."""
    folder = book.folder / "corpora"
    for name, strings in SPOKEN.items():
        config = PrepareConfig(
            name=name,
            source=SourceConfig(corpus="espeak"),
            tokens=TokenConfig(unit="word"),
            strings=strings,
        )
        made = book.run(
            f"{name}.spoken",
            "corpus",
            config.to_json(),
            lambda out, config=config: run_prepare(config, out),
        )
        write_folder(open_corpus(made.path, verify=False), folder / name)
    return folder.absolute()


def write_folder(corpus: Corpus, folder: Path) -> None:
    """Write ``transcripts.tsv`` of a prepared corpus; its audio stays where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join((*NEEDED, "split"))]
    for split in SPLITS:
        for u in corpus.cuts(split):
            lines.append("\t".join((u.id, u.speaker, u.text, str(u.audio_path.absolute()), split)))
    (folder / TABLE_NAME).write_text("\n".join(lines) + "\n", "utf-8")
