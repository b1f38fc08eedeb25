"""What was measured of accepted artifacts travels from a store into a baseline, and back where all is as it was."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from quantbench.baselines import measured
from quantbench.baselines.check import check
from quantbench.baselines.files import json_path
from quantbench.baselines.measured import KINDS, Kind, at_hand, keep, leave, load, path_of
from quantbench.build.store import Store, digest
from quantbench.core.environment import today
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, BaselineFile
from quantbench.reference.model import ReferenceModel, load_models

OURS, OTHER = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def models() -> dict[str, ReferenceModel]:
    return {"seed_cnn": load_models(ROOT / "models")["seed_cnn"]}


def baseline(*artifacts: str) -> BaselineFile:
    cells = {f"v{place}": BaselineCell(artifact_sha256=sha256) for place, sha256 in enumerate(artifacts)}
    return BaselineFile(model="seed_cnn", metric="top1", data_sha256="0" * 64, predictions_sha256="", cells=cells)


def measure(store: Store, model: ReferenceModel, sha256: str, what: str = "memory", said: str = "{}") -> str:
    """Put a measurement into a store as a worker does; return its key."""
    recipe = KINDS[what].recipe(sha256, model)
    store.put(digest(recipe), {KINDS[what].needed: said.encode()}, recipe)
    return digest(recipe)


@pytest.fixture
def accepted(tmp_path: Path, models: dict[str, ReferenceModel]) -> Path:
    """A folder with the accepted measurements of one artifact."""
    store, folder = Store(tmp_path / "first"), tmp_path / "baselines"
    folder.mkdir()
    for what in KINDS:
        measure(store, models["seed_cnn"], OURS, what, json.dumps({"of": what}))
    measure(store, models["seed_cnn"], OTHER)
    keep(folder, [baseline(OURS)], models, tmp_path, [store])
    return folder


def put(folder: Path, models: dict[str, ReferenceModel], store: Store, *artifacts: str) -> dict[str, int]:
    return at_hand(folder, models).put({"seed_cnn": set(artifacts)}, models, store)


def test_an_empty_store_gets_what_was_measured_and_says_so_again(
    accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    store = Store(tmp_path / "second")
    for _ in range(2):
        assert put(accepted, models, store, OURS) == dict.fromkeys(KINDS, 1)
    for what, kind in KINDS.items():
        entry = store.get(digest(kind.recipe(OURS, models["seed_cnn"])))
        assert entry is not None
        assert json.loads((entry / kind.needed).read_text()) == {"of": what}


def test_an_artifact_that_is_not_accepted_is_measured(
    accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    store = Store(tmp_path / "second")
    assert put(accepted, models, store, OTHER) == {}
    assert store.get(digest(KINDS["memory"].recipe(OTHER, models["seed_cnn"]))) is None


def test_what_this_machine_measured_itself_stays(
    accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    store = Store(tmp_path / "second")
    key = measure(store, models["seed_cnn"], OURS, said='{"own": 1}')
    assert put(accepted, models, store, OURS) == dict.fromkeys(set(KINDS) - {"memory"}, 1)
    assert (store.path(key) / KINDS["memory"].needed).read_text() == '{"own": 1}'


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what differs of the recipe of memory; whatever is put there differs from then on."""
    differs: dict[str, Any] = {}
    kind, recipe = KINDS["memory"], KINDS["memory"].recipe
    monkeypatch.setitem(KINDS, "memory", Kind(lambda *given: {**recipe(*given), **differs}, kind.needed, kind.more))
    return differs


@pytest.mark.parametrize("name", ["data", "source", "packages", "code", "system", "python", "cpu"])
def test_whatever_differs_is_measured_again(
    name: str, elsewhere: dict[str, Any], accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    assert name in KINDS["memory"].recipe(OURS, models["seed_cnn"])
    elsewhere[name] = "another"
    assert "memory" not in put(accepted, models, Store(tmp_path / "second"), OURS)


def test_processors_are_kept_beside_each_other_and_older_recipes_are_not(
    elsewhere: dict[str, Any], accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    path, store = path_of(accepted, "seed_cnn"), Store(tmp_path / "second")
    elsewhere["cpu"] = ["another", ""]
    measure(store, models["seed_cnn"], OURS)
    keep(accepted, [baseline(OURS)], models, tmp_path, [store])
    assert [group.what for group in load(path, "seed_cnn")].count("memory") == 2
    elsewhere["python"] = "4.0"
    measure(store, models["seed_cnn"], OURS)
    keep(accepted, [baseline(OURS)], models, tmp_path, [store])
    ours = [group for group in load(path, "seed_cnn") if group.what == "memory"]
    assert sorted(group.recipe["python"] == "4.0" for group in ours) == [False, True]


def test_what_a_run_left_is_accepted_on_another_machine(
    elsewhere: dict[str, Any], models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    store, run, folder = Store(tmp_path / "there"), tmp_path / "run", tmp_path / "baselines"
    folder.mkdir()
    elsewhere["cpu"] = ["another", ""]
    measure(store, models["seed_cnn"], OURS)
    leave(run, {"seed_cnn": {OURS, OTHER}}, models, store)
    del elsewhere["cpu"]
    keep(folder, [baseline(OURS)], models, run, [Store(tmp_path / "here")])
    (group,) = load(path_of(folder, "seed_cnn"), "seed_cnn")
    assert group.recipe["cpu"] == ["another", ""]
    assert list(group.results) == [OURS]


def test_an_artifact_that_is_replaced_leaves_nothing(
    accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    keep(accepted, [baseline(OTHER)], models, tmp_path, [Store(tmp_path / "first")])
    (group,) = load(path_of(accepted, "seed_cnn"), "seed_cnn")
    assert (group.what, list(group.results)) == ("memory", [OTHER])
    keep(accepted, [baseline()], models, tmp_path, [])
    assert not path_of(accepted, "seed_cnn").exists()


def test_equal_measurements_are_written_equally(
    accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    before = path_of(accepted, "seed_cnn").read_bytes()
    keep(accepted, [baseline(OURS)], models, tmp_path, [Store(tmp_path / "first")])
    assert path_of(accepted, "seed_cnn").read_bytes() == before


def written(path: Path, change: dict[str, Any]) -> None:
    whole = json.loads(lzma.decompress(path.read_bytes()))
    path.write_bytes(lzma.compress(json.dumps({**whole, **change}).encode()))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "are cut short"),
        (lambda path: path.write_bytes(b"anything but xz"), "cannot be unpacked"),
        (lambda path: path.write_bytes(lzma.compress(b"\xff")), "cannot be unpacked"),
        (lambda path: path.write_bytes(lzma.compress(b"[1]")), "must be a JSON object, found list"),
        (lambda path: written(path, {"model": "other"}), "field 'model': expected 'seed_cnn'"),
        (lambda path: written(path, {"more": 1}), "field 'more'"),
        (lambda path: written(path, {"contents": {}}), "is not complete"),
        (lambda path: written(path, {"contents": {"0" * 16: "e30="}}), "is not what was accepted"),
        (lambda path: written(path, {"measured": [{"what": "x", "recipe": {}, "results": {}}]}), "field 'what'"),
    ],
)
def test_a_damaged_file_is_one_sentence(
    damage: Any, words: str, accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    damage(path_of(accepted, "seed_cnn"))
    with pytest.raises(BadInput, match=rf"seed_cnn\.xz: .*{words}"):
        put(accepted, models, Store(tmp_path / "second"), OURS)
    (accepted / "seed_cnn.json").write_bytes((ROOT / "baselines" / "seed_cnn.json").read_bytes())
    (accepted / "seed_cnn.npz").write_bytes((ROOT / "baselines" / "seed_cnn.npz").read_bytes())
    assert [one for one in check(models, accepted, today()) if one.file.suffix == ".xz"]


def test_a_file_that_unpacks_to_gigabytes_is_refused(
    accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "_LARGEST", 10_000)
    path_of(accepted, "seed_cnn").write_bytes(lzma.compress(b" " * 1_000_000))
    with pytest.raises(BadInput, match=r"are cut short, or larger than 9\.8 KiB"):
        put(accepted, models, Store(tmp_path / "second"), OURS)


def test_measurements_without_values_are_found(accepted: Path, models: dict[str, ReferenceModel]) -> None:
    assert not json_path(accepted, "seed_cnn").exists()
    assert [str(one) for one in check(models, accepted, today())] == [
        f"{path_of(accepted, 'seed_cnn')}: accepted measurements without seed_cnn.json; restore both files from git, "
        "or accept a run again"
    ]
