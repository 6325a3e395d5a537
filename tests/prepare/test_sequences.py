"""Labelled sequences: recordings, images and tables, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from todm.core.classify_config import (
    AudioSource,
    ImageSource,
    SequenceAugment,
    SequencesConfig,
    TableSource,
)
from todm.core.errors import ConfigError, DataError
from todm.data.sequences import augmented, open_sequences
from todm.features.decimate import decimated
from todm.features.sequence import fitted
from todm.features.wav import write_wav
from todm.prepare.sequences import run

WORDS = ("NO", "YES")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of two words, a tone each, and one of images."""
    root = tmp_path_factory.mktemp("corpora")
    folder = root / "fsdd"
    folder.mkdir()
    rows = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    for split in ("train", "dev", "test"):
        for take in range(3):
            for word, pitch_hz in zip(WORDS, (200, 500), strict=True):
                name = f"{split}_{word}_{take}"
                time_S = np.arange(4000 + 800 * take) / 16000
                tone_S = 0.1 * (take + 1) * np.sin(2 * np.pi * pitch_hz * time_S)
                write_wav(folder / f"{name}.wav", tone_S.astype(np.float32))
                rows.append(f"{name}\ta\t{word}\t{name}.wav\t{split}")
    (folder / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    (root / "mnist").mkdir()
    draw = np.random.default_rng(0)
    np.savez(
        root / "mnist" / "mnist.npz",
        x_train=draw.integers(0, 256, (12, 4, 6), dtype=np.uint8),
        y_train=np.arange(12, dtype=np.uint8) % 3,
        x_test=draw.integers(0, 256, (5, 4, 6), dtype=np.uint8),
        y_test=np.arange(5, dtype=np.uint8) % 3,
    )
    return root


def audio(**changes: object) -> SequencesConfig:
    source = AudioSource.model_validate({"corpus": "fsdd", "duration_s": 0.3, **changes})
    return SequencesConfig(name="tones", source=source)


def test_recordings_keep_their_split_and_become_samples_at_the_rate(
    tmp_path: Path, corpora: Path
) -> None:
    run(audio(), tmp_path / "out", corpora_dir=corpora)
    sequences = open_sequences(tmp_path / "out")
    assert sequences.facts.classes == WORDS
    assert (sequences.facts.num_frames, sequences.facts.frame_rate_hz) == (1200, 4000.0)
    for split in ("train", "dev", "test"):
        x_BLI, y_B = sequences.split(split)
        assert x_BLI.shape == (6, 1200, 1)
        assert y_B.tolist() == [0, 1] * 3
        tone_BF = torch.fft.rfft(x_BLI[:, :, 0], dim=1).abs()
        found_hz = tone_BF.argmax(1) / 1200 * 4000
        torch.testing.assert_close(found_hz, torch.tensor([200.0, 500.0] * 3), rtol=0, atol=8.0)
        inner_BL = x_BLI[4:, 100:-100, 0]  # the longest recordings: 0.35 s, cut to 0.3
        torch.testing.assert_close(inner_BL.square().mean(1), torch.ones(2), rtol=0, atol=0.02)


def test_cepstra_are_computed_of_the_same_samples(tmp_path: Path, corpora: Path) -> None:
    run(audio(form="mfcc"), tmp_path / "out", corpora_dir=corpora)
    sequences = open_sequences(tmp_path / "out")
    assert (sequences.facts.num_frames, sequences.facts.input_dim) == (30, 20)
    assert sequences.facts.frame_rate_hz == 100.0
    x_BLI = sequences.split("test").x_BLI
    assert float((x_BLI[0] - x_BLI[1]).abs().mean()) > 5 * float((x_BLI[2] - x_BLI[4]).std() + 1)


def test_words_choose_the_classes_and_their_order(tmp_path: Path, corpora: Path) -> None:
    run(audio(words=("YES", "NO")), tmp_path / "out", corpora_dir=corpora)
    assert open_sequences(tmp_path / "out").split("dev").y.tolist() == [1, 0] * 3
    with pytest.raises(ConfigError, match="no recording of MAYBE"):
        run(audio(words=("YES", "MAYBE")), tmp_path / "no", corpora_dir=corpora)
    assert not (tmp_path / "no").exists()


def test_images_are_pixels_in_order_and_permuted_alike(tmp_path: Path, corpora: Path) -> None:
    plain = ImageSource(shrink=2, num_dev=4)
    run(SequencesConfig(name="s", source=plain), tmp_path / "s", corpora_dir=corpora)
    permuted = plain.model_copy(update={"permuted": True})
    for seed in (0, 1):
        config = SequencesConfig(name="p", source=permuted, seed=seed)
        run(config, tmp_path / f"p{seed}", corpora_dir=corpora)
    images = np.load(corpora / "mnist" / "mnist.npz")
    x_BLI = open_sequences(tmp_path / "s").split("train").x_BLI
    assert x_BLI.shape == (8, 6, 1)
    want = images["x_train"][2, 2:, 4:].astype(np.float64).mean() / 255
    assert float(x_BLI[2, 5, 0]) == pytest.approx(want, rel=1e-6)
    orders = []
    for seed in (0, 1):
        found = open_sequences(tmp_path / f"p{seed}")
        order = [int((x_BLI[0] - v).abs().argmin()) for v in found.split("train").x_BLI[0]]
        assert sorted(order) == list(range(6))
        test_BLI = open_sequences(tmp_path / "s").split("test").x_BLI
        assert torch.equal(found.split("test").x_BLI, test_BLI[:, order])
        orders.append(order)
    assert orders[0] != orders[1]


def table(path: Path, **arrays: np.ndarray) -> SequencesConfig:
    np.savez(path, **arrays)
    return SequencesConfig(name="own", source=TableSource(path=path))


def test_a_table_of_figures_or_of_classes(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(3, 5, 2)), np.array([0.5, 1.5, 2.5])
    whole = {f"x_{s}": x for s in ("train", "dev", "test")}
    config = table(tmp_path / "a.npz", **whole, **{f"y_{s}": y for s in ("train", "dev", "test")})
    run(config, tmp_path / "a")
    found = open_sequences(tmp_path / "a")
    assert (found.facts.head, found.facts.outputs, found.facts.input_dim) == ("regression", 1, 2)
    assert found.split("dev").y.tolist() == [[0.5], [1.5], [2.5]]
    whole |= {f"y_{s}": np.array([60, 63, 63]) for s in ("train", "dev", "test")}
    config = table(tmp_path / "c.npz", **whole)
    with pytest.raises(DataError, match=r"say source\.head=regression"):
        run(config, tmp_path / "c")
    source = TableSource(path=tmp_path / "c.npz", head="regression")
    run(config.model_copy(update={"source": source}), tmp_path / "c")
    assert open_sequences(tmp_path / "c").split("test").y.tolist() == [[60.0], [63.0], [63.0]]
    lines = [f"{s},{c},{c}.0,{c + 0.5}" for s in ("train", "dev", "test") for c in (0, 1)]
    (tmp_path / "b.csv").write_text("split,class,a,b\n" + "\n".join(lines), "utf-8")
    run(SequencesConfig(name="b", source=TableSource(path=tmp_path / "b.csv")), tmp_path / "b")
    found = open_sequences(tmp_path / "b")
    assert found.facts.classes == ("0", "1")
    assert found.split("test").x_BLI[..., 0].tolist() == [[0.0, 0.5], [1.0, 1.5]]


DAMAGES: dict[str, tuple[dict[str, object], str]] = {
    "missing": ({"y_dev": None}, "no array 'y_dev'"),
    "lengths": ({"x_test": np.ones((3, 3))}, "make them alike"),
    "nan": ({"x_dev": np.full((3, 5), np.nan)}, "NaN or infinite"),
    "gap": ({"y_train": np.array([0, 2, 2])}, "count from 0 without gaps"),
    "strange": ({"y_test": np.array([0, 1, 5])}, "classes that train has not"),
    "rows": ({"y_train": np.array([0, 1])}, "one row an example"),
    "classes and figures": ({"y_dev": np.array([0.0, 1.0, 1.0])}, "targets of dev and of train"),
    "figures and classes": ({"y_train": np.array([0.5, 1.5, 1.0])}, "targets of dev and of train"),
    "other figures": (
        {"y_train": np.ones((3, 2)), "y_dev": np.ones((3, 2)), "y_test": np.ones((3, 1))},
        "targets of test and of train",
    ),
    "figures for classes": (
        {f"y_{s}": np.array([0.5, 1.0, 1.0]) for s in ("train", "dev", "test")},
        "no whole numbers",
    ),
    "empty": ({"x_dev": np.ones((0, 5)), "y_dev": np.array([], int)}, "dev split has no sequence"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_wrong_table_is_told(tmp_path: Path, name: str) -> None:
    changes, says = DAMAGES[name]
    arrays: dict[str, object] = {}
    for split in ("train", "dev", "test"):
        arrays[f"x_{split}"] = np.ones((3, 5))
        arrays[f"y_{split}"] = np.array([0, 1, 1])
    arrays = {k: v for k, v in (arrays | changes).items() if v is not None}
    config = table(tmp_path / "a.npz", **arrays)
    if name == "figures for classes":
        source = TableSource(path=tmp_path / "a.npz", head="classes")
        config = config.model_copy(update={"source": source})
    with pytest.raises(DataError, match=says) as raised:
        run(config, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train,0,1\ndev,0\ntest,0,1", ":2: a line is"),
        ("train,0,1\nvalid,0,1\ntest,0,1", "begins with 'valid'"),
        ("train,0,1\ndev,0,x\ntest,0,1", "is no number"),
        ("train,0,1\ntest,0,1", "each need at least one line"),
    ],
)
def test_a_wrong_csv_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.csv").write_text(text, "utf-8")
    with pytest.raises(DataError, match=says):
        run(SequencesConfig(name="a", source=TableSource(path=tmp_path / "a.csv")), tmp_path / "o")


def test_a_missing_place_is_told(tmp_path: Path, corpora: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        run(SequencesConfig(name="a", source=TableSource(path=Path("no.npz"))), tmp_path / "o")
    with pytest.raises(DataError, match=r"a \.npz or a \.csv"):
        run(SequencesConfig(name="a", source=TableSource(path=Path("no.txt"))), tmp_path / "o")
    with pytest.raises(DataError, match="holds no corpus"):
        run(audio(), tmp_path / "o", corpora_dir=corpora / "fsdd")
    with pytest.raises(ConfigError, match="none of isolated words"):
        run(audio(corpus="an4"), tmp_path / "o", corpora_dir=corpora)
    wrong = SequencesConfig(name="s", source=ImageSource(shrink=4, num_dev=2))
    with pytest.raises(DataError, match="do not shrink by 4"):
        run(wrong, tmp_path / "o", corpora_dir=corpora)


@pytest.mark.parametrize("images", [np.zeros((4, 2)), np.zeros((3, 2, 2))], ids=["flat", "few"])
def test_images_that_are_none_are_told(tmp_path: Path, images: np.ndarray) -> None:
    labels, path = np.zeros(4, np.int64), tmp_path / "own.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=np.zeros((4, 2, 2)), y_test=labels)
    config = SequencesConfig(name="s", source=ImageSource(path=path, num_dev=1))
    with pytest.raises(DataError, match=r"own.npz: x_train has shape .* one label each"):
        run(config, tmp_path / "out")


def test_fitting_is_about_the_middle() -> None:
    assert fitted(np.arange(1, 6), 3).tolist() == [2, 3, 4]
    assert fitted(np.arange(1, 4), 6).tolist() == [0, 1, 2, 3, 0, 0]
    assert fitted(np.arange(3), 3).tolist() == [0, 1, 2]


def test_decimation_filters_or_folds() -> None:
    time_T = np.arange(400) / 400
    low_T, high_T = np.sin(2 * np.pi * 20 * time_T), np.sin(2 * np.pi * 150 * time_T)
    x_BTI = np.stack([low_T, high_T], 1)[None].astype(np.float32)
    plain_BKI = decimated(x_BTI, 2, filtered=False)
    filtered_BKI = decimated(x_BTI, 2, filtered=True)
    assert plain_BKI.shape == filtered_BKI.shape == (1, 200, 2)
    assert np.array_equal(plain_BKI, x_BTI[:, ::2])
    inside = slice(20, -20)
    np.testing.assert_allclose(filtered_BKI[0, inside, 0], low_T[::2][inside], atol=0.02)
    assert np.abs(filtered_BKI[0, inside, 1]).max() < 0.02  # 150 of 200 / 2: not representable
    assert decimated(x_BTI, 1, filtered=True) is x_BTI


def test_augmentation_shifts_scales_and_adds_noise() -> None:
    x_BLI = torch.arange(1.0, 11.0).repeat(64, 1)[..., None]
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(augmented(x_BLI, SequenceAugment(), generator), x_BLI)
    shifted = augmented(x_BLI, SequenceAugment(shift_fraction=0.3), generator)
    shifts = set()
    for row in shifted[..., 0]:
        first = int((row > 0).nonzero()[0])
        shift = first if first else int(1 - row[0])
        shifts.add(shift)
        want = torch.zeros(10)
        for frame in range(10):
            if 0 <= frame - shift < 10:
                want[frame] = x_BLI[0, frame - shift, 0]
        assert torch.equal(row, want)
    assert shifts == set(range(-3, 4))
    gained = augmented(x_BLI, SequenceAugment(gain_db=6.0), generator)
    gain_db_B = 20 * torch.log10((gained / x_BLI)[:, 0, 0])
    assert -6.0 <= float(gain_db_B.min()) < -4.0
    assert 4.0 < float(gain_db_B.max()) <= 6.0
    noisy = augmented(x_BLI, SequenceAugment(noise_db=-20.0), generator)
    assert float((noisy - x_BLI).std()) == pytest.approx(0.1, rel=0.1)
