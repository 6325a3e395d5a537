"""Search and extraction on real artifacts: lineage, bit-equal weights, refusals, resumption."""

import shutil

import pytest
import torch

from todm.core.artifact import load_artifact
from todm.core.data_config import PrepareConfig, SourceConfig, TokenConfig
from todm.core.errors import ArtifactError, ConfigError, GateError, InfeasibleError
from todm.core.front import FRONT_FILE, TRIALS_FILE, Front
from todm.core.profile import Budget, DeviceProfile, load_profile
from todm.core.search_config import SearchConfig
from todm.extract.run import PROFILE, run
from todm.models.store import load_subnet, load_supernet
from todm.prepare.run import run as prepare
from todm.search import run as search_run
from todm.search.objectives import EvaluationLog
from todm.search.run import run as search


def quiet(*_):
    """Show no progress bar."""


def with_budgets(name="raspberry_pi_4", **limits):
    budgets = {k: Budget(limit=v, origin="chosen", source="a test") for k, v in limits.items()}
    return load_profile(name).model_copy(update={"budgets": budgets})


def extract(chain, profile, out, **options):
    return run(chain.supernet, chain.front, profile, chain.corpus, out, **options)


def test_front_artifact(chain):
    artifact = load_artifact(chain.front, "front")
    front, trials = (Front.read_json(artifact.file(name)) for name in (FRONT_FILE, TRIALS_FILE))
    assert len(trials.points) == artifact.body["evaluated_nets"] == 6
    assert all(point in trials.points for point in front.points)
    assert set(chain.space.named().values()) <= {p.spec for p in trials.points}
    assert set(artifact.manifest.parents) == {"supernet", "corpus"}
    assert artifact.body["corpus_path"] == str(chain.corpus)
    assert artifact.body["words"] == trials.words == 10
    assert [path.name for path in chain.front.parent.glob("front*")] == ["front"]


def test_search_repeats_itself_and_resumes(chain, tmp_path, monkeypatch):
    config = SearchConfig.parse(load_artifact(chain.front).body["config"], where="test")
    put, done = EvaluationLog.put, []

    def dies_after_three(self, spec, scores):
        put(self, spec, scores)
        done.append(spec)
        if len(done) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(EvaluationLog, "put", dies_after_three)
    with pytest.raises(KeyboardInterrupt):
        search(config, chain.supernet, chain.corpus, tmp_path / "front", quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["front.evaluations.jsonl"]
    again = search(config, chain.supernet, chain.corpus, tmp_path / "front", quiet)
    assert len(done) == 6
    assert again.digest == load_artifact(chain.front).digest
    assert [path.name for path in tmp_path.iterdir()] == ["front"]


def test_processes_that_share_a_search_write_the_front_of_one_alone(chain, tmp_path, monkeypatch):
    config = SearchConfig.parse(load_artifact(chain.front).body["config"], where="test")
    config = config.model_copy(update={"storage": str(tmp_path / "journal")})
    places = (tmp_path / "one", tmp_path / "two")
    for place in places:
        made = search(config, chain.supernet, chain.corpus, place, quiet)
        assert made.digest == load_artifact(chain.front).digest
        assert not list(tmp_path.glob("*.evaluations.jsonl"))

    def other_is_writing(*_, **__):
        raise ArtifactError("one: cannot write (Directory not empty)")

    monkeypatch.setattr(search_run, "write_artifact", other_is_writing)
    made = search(config, chain.supernet, chain.corpus, places[0], quiet)
    assert made.digest == load_artifact(chain.front).digest
    with pytest.raises(ArtifactError, match="cannot write"):
        search(config, chain.supernet, chain.corpus, tmp_path / "three", quiet)


def test_subnet_is_the_supernet_s_slice_with_its_lineage(chain, tmp_path):
    profile = with_budgets(bundle_bytes=1e9, rtf=0.1)
    artifact = extract(chain, profile, tmp_path / "subnet")
    subnet, supernet = load_subnet(artifact.path), load_supernet(chain.supernet)
    source = supernet.model.state_dict()
    for name, tensor in subnet.model.state_dict().items():
        block = tuple(slice(0, size) for size in tensor.shape)
        assert torch.equal(tensor, source[name][block]), name
    assert subnet.table == supernet.table
    assert subnet.spec.chunk_frames == profile.chunk_frames
    parents = artifact.manifest.parents
    for role in ("supernet", "front", "corpus"):
        assert parents[role] == load_artifact(getattr(chain, role)).digest
    body = artifact.body
    assert body["corpus_path"] == str(chain.corpus)
    assert body["words"] == 16
    assert {v["name"]: v["status"] for v in body["verdicts"]} == {
        "bundle_bytes": "met",
        "rtf": "not_judged",
    }
    assert DeviceProfile.read_json(artifact.file(PROFILE)) == profile


def test_candidates_are_measured_as_artifacts(chain, tmp_path):
    seen = []

    def measure(path):
        subnet = load_subnet(path)
        assert subnet.artifact.body["candidate"] is True
        seen.append((path, subnet.spec))
        return {"bundle_bytes": 5000.0 if len(subnet.spec.blocks) > 1 else 1000.0}

    artifact = extract(chain, with_budgets(bundle_bytes=4e5), tmp_path / "s", measure=measure)
    assert artifact.body["measured"] == ["bundle_bytes"]
    assert artifact.body["values"]["bundle_bytes"] in (1000.0, 5000.0)
    assert load_subnet(artifact.path).spec == seen[-1][1]
    assert not any(path.exists() for path, _ in seen)


def test_nothing_judged_stops_unless_told(chain, tmp_path):
    profile = with_budgets(rtf=0.1)
    with pytest.raises(GateError, match=r"none of its budgets \(rtf\).*--allow-unjudged"):
        extract(chain, profile, tmp_path / "s")
    assert not list(tmp_path.iterdir())
    artifact = extract(chain, profile, tmp_path / "s", allow_unjudged=True)
    assert [v["status"] for v in artifact.body["verdicts"]] == ["not_judged"]
    with pytest.raises(GateError, match=r"\(none\)"):
        extract(chain, with_budgets(), tmp_path / "t")


def test_host_budgets_without_a_figure_are_not_judged(chain, tmp_path):
    profile = with_budgets("this_host", rtf=0.1)
    with pytest.raises(GateError):
        extract(chain, profile, tmp_path / "s", measure=lambda _: {})
    artifact = extract(chain, profile, tmp_path / "s", measure=lambda _: {"rtf": 0.01})
    assert artifact.body["measured"] == ["rtf"]


def test_infeasible_leaves_nothing(chain, tmp_path):
    with pytest.raises(InfeasibleError, match="bundle_bytes needs at least"):
        extract(chain, with_budgets(bundle_bytes=10.0), tmp_path / "s")
    assert not list(tmp_path.iterdir())


def test_a_front_of_another_supernet_is_refused(chain, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(chain.supernet, other)
    manifest = (other / "manifest.json").read_text("utf-8")
    (other / "manifest.json").write_text(manifest.replace('"tiny"', '"tinier"', 1), "utf-8")
    with pytest.raises(ArtifactError, match="searched on another supernet"):
        run(other, chain.front, with_budgets(bundle_bytes=1e9), chain.corpus, tmp_path / "s")


def test_a_front_of_another_corpus_is_refused(chain, tmp_path):
    """Its WERs and those of the nets that extraction adds would be of different speech."""
    source = SourceConfig(corpus="transcripts", path=chain.speech)
    other = tmp_path / "other"
    prepare(PrepareConfig(name="other", source=source), other)
    with pytest.raises(ArtifactError, match="searched on another corpus than"):
        run(chain.supernet, chain.front, with_budgets(bundle_bytes=1e9), other, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_corpus_with_other_tokens_is_refused(chain, tmp_path):
    source = SourceConfig(corpus="transcripts", path=chain.speech)
    other = tmp_path / "words"
    prepare(PrepareConfig(name="w", source=source, tokens=TokenConfig(unit="word")), other)
    config = SearchConfig(trials=2)
    with pytest.raises(ConfigError, match="another token table"):
        search(config, chain.supernet, other, tmp_path / "front", quiet)
    assert not (tmp_path / "front").exists()


def test_wrong_kinds_are_refused(chain, tmp_path):
    with pytest.raises(ArtifactError, match="is a corpus artifact, a supernet is needed"):
        search(SearchConfig(), chain.corpus, chain.corpus, tmp_path / "f", quiet)
    with pytest.raises(ArtifactError, match="is a supernet artifact, a front is needed"):
        run(
            chain.supernet,
            chain.supernet,
            with_budgets(bundle_bytes=1e9),
            chain.corpus,
            tmp_path / "s",
        )
