"""What was measured of accepted artifacts travels from a store into a baseline, and back where all is as it was."""

import ast
import base64
import hashlib
import json
import lzma
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from quantbench.baselines import measured
from quantbench.baselines.check import check
from quantbench.baselines.files import json_path
from quantbench.baselines.measured import KINDS, at_hand, join, keep, leave, load, path_of
from quantbench.build.store import Store, digest
from quantbench.core.environment import today
from quantbench.errors import BadInput
from quantbench.measure.memory import Memory
from quantbench.records import BaselineCell, BaselineFile
from quantbench.reference.model import ReferenceModel, load_models

OURS, OTHER = "a" * 64, "b" * 64
EVERY = {what: {OURS} for what in KINDS}
PLAIN = {"quantbench.errors", "quantbench.files", "quantbench.tflite", "quantbench.measure", "quantbench.core"}


@pytest.fixture(scope="module")
def models() -> dict[str, ReferenceModel]:
    return {"seed_cnn": load_models(ROOT / "models")["seed_cnn"]}


def baseline(*artifacts: str) -> BaselineFile:
    cells = {f"v{place}": BaselineCell(artifact_sha256=sha256) for place, sha256 in enumerate(artifacts)}
    return BaselineFile(model="seed_cnn", metric="top1", data_sha256="0" * 64, predictions_sha256="", cells=cells)


FACTS: dict[str, dict[str, Any]] = {
    "memory": asdict(Memory(peaks=[3], resident=[4], empty=[1], answers=[[1, 2**63]])),
    "instructions": {"profile": "p", "operators": [["conv", 7]]},
    "micro": {"version": "0", "arena": [3, 2, 1], "refusal": None},
    "other kernels": {"findings": [], "litert-reference": "it refuses"},
}
for unstored in ("failure", "cached"):
    del FACTS["memory"][unstored]


def measure(
    store: Store, model: ReferenceModel, sha256: str, what: str = "memory", facts: dict[str, Any] | None = None
) -> str:
    """Put a measurement into a store as a worker does; return its key."""
    recipe = KINDS[what].recipe(sha256, model)
    store.put(digest(recipe), {KINDS[what].needed: json.dumps(facts or FACTS[what]).encode()}, recipe)
    return digest(recipe)


@pytest.fixture
def accepted(tmp_path: Path, models: dict[str, ReferenceModel]) -> Path:
    """A folder with the accepted measurements of one artifact."""
    store, folder = Store(tmp_path / "first"), tmp_path / "baselines"
    folder.mkdir()
    for what in KINDS:
        measure(store, models["seed_cnn"], OURS, what)
    measure(store, models["seed_cnn"], OTHER)
    keep(folder, [baseline(OURS)], models, tmp_path, [store])
    return folder


def put(folder: Path, models: dict[str, ReferenceModel], store: Store, *artifacts: str) -> dict[str, set[str]]:
    return at_hand(folder, models).put({"seed_cnn": set(artifacts)}, models, store)


def test_an_empty_store_gets_what_was_measured_and_says_so_again(
    accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    store = Store(tmp_path / "second")
    for _ in range(2):
        assert put(accepted, models, store, OURS) == EVERY
    for what, kind in KINDS.items():
        entry = store.get(digest(kind.recipe(OURS, models["seed_cnn"])))
        assert entry is not None
        assert json.loads((entry / kind.needed).read_text()) == FACTS[what]


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
    own = {**FACTS["memory"], "calls": 7}
    key = measure(store, models["seed_cnn"], OURS, facts=own)
    assert put(accepted, models, store, OURS) == {what: {OURS} for what in KINDS if what != "memory"}
    assert json.loads((store.path(key) / KINDS["memory"].needed).read_text()) == own


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what differs of the recipe of memory; whatever is put there differs from then on."""
    differs: dict[str, Any] = {}
    kind, recipe = KINDS["memory"], KINDS["memory"].recipe
    monkeypatch.setitem(KINDS, "memory", kind._replace(recipe=lambda *given: {**recipe(*given), **differs}))
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
    elsewhere["code"] = "newer"
    measure(store, models["seed_cnn"], OURS)
    keep(accepted, [baseline(OURS)], models, tmp_path, [store])
    ours = [group for group in load(path, "seed_cnn") if group.what == "memory"]
    assert sorted(group.recipe["code"] == "newer" for group in ours) == [False, True]


@pytest.mark.parametrize("name", ["python", "system", "valgrind", "code", "environment"])
@pytest.mark.parametrize("what", KINDS)
def test_whatever_else_differs_around_it_is_measured_again(
    what: str,
    name: str,
    accepted: Path,
    models: dict[str, ReferenceModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = measured.surroundings()
    monkeypatch.setattr(measured, "surroundings", lambda: {**around, name: "another"})
    assert what not in put(accepted, models, Store(tmp_path / "second"), OURS)


def test_a_variable_that_changes_the_allocator_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = measured.surroundings()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    assert measured.surroundings() != before


def test_the_code_of_every_measuring_process_is_part_of_what_is_compared(models: dict[str, ReferenceModel]) -> None:
    workers = {
        "memory": "memory_worker",
        "instructions": "instructions_worker",
        "micro": "micro_worker",
        "other kernels": "side_worker",
    }
    for what, worker in workers.items():
        known = {*KINDS[what].recipe("", models["seed_cnn"])["code"], *measured.AROUND, *PLAIN}
        assert closure(f"quantbench.measure.{worker}") <= known, what


def closure(root: str) -> set[str]:
    """Every module of ours that a module imports, directly or not."""
    seen: set[str] = set()
    left = [root]
    while left:
        module = left.pop()
        file = ROOT / "bench" / f"{module.replace('.', '/')}.py"
        if module in seen or not file.exists():
            continue
        seen.add(module)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                left += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return seen


def test_another_file_replaces_what_the_one_before_put_there(
    accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    store = Store(tmp_path / "second")
    put(accepted, models, store, OURS)
    key = digest(KINDS["memory"].recipe(OURS, models["seed_cnn"]))
    store.release()  # that run has ended: what is in use stays
    newer, other = {**FACTS["memory"], "calls": 7}, Store(tmp_path / "third")
    measure(other, models["seed_cnn"], OURS, facts=newer)
    keep(accepted, [baseline(OURS)], models, tmp_path, [other])
    assert put(accepted, models, store, OURS)["memory"] == {OURS}
    assert json.loads((store.path(key) / KINDS["memory"].needed).read_text()) == newer
    store.release()
    path_of(accepted, "seed_cnn").unlink()
    assert put(accepted, models, store, OURS) == {}
    assert store.get(key) is None


def test_what_was_evicted_is_put_again(accepted: Path, models: dict[str, ReferenceModel], tmp_path: Path) -> None:
    store = Store(tmp_path / "second")
    put(accepted, models, store, OURS)
    shutil.rmtree(store.path(digest(KINDS["memory"].recipe(OURS, models["seed_cnn"]))))
    assert put(accepted, models, store, OURS) == EVERY


def test_what_a_run_left_goes_before_what_a_store_holds_and_shards_are_joined(
    models: dict[str, ReferenceModel], tmp_path: Path
) -> None:
    shards = [tmp_path / "one", tmp_path / "two"]
    for run, sha256 in zip(shards, (OURS, OTHER), strict=True):
        measure(store := Store(run / "store"), models["seed_cnn"], sha256, facts={**FACTS["memory"], "calls": 7})
        leave(run, {"seed_cnn": {sha256}}, models, store)
    join(shards, tmp_path / "whole", models)
    measure(own := Store(tmp_path / "own"), models["seed_cnn"], OURS)
    keep(tmp_path / "baselines", [baseline(OURS, OTHER)], models, tmp_path / "whole", [own])
    (group,) = load(path_of(tmp_path / "baselines", "seed_cnn"), "seed_cnn")
    assert [json.loads(group.results[sha256]["memory.json"])["calls"] for sha256 in (OURS, OTHER)] == [7, 7]


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


NONE_SUCH: list[tuple[str, str]] = [
    *((what, text) for what in KINDS for text in ("[1]", "null", "not json", '{"x": 1}', "{}")),
    ("memory", json.dumps({**FACTS["memory"], "peaks": []})),
    ("memory", json.dumps(FACTS["memory"]).replace("[3]", "[1e999]")),
    ("other kernels", '{"findings": [], "nonfinite": 0}'),
    ("other kernels", '{"findings": ["it hung"]}'),
]


def holding(what: str, text: str) -> Callable[[Path], None]:
    """Return what replaces the facts of one kind in a file by others."""

    def change(path: Path) -> None:
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        whole = json.loads(lzma.decompress(path.read_bytes()))
        for group in whole["measured"]:
            if group["what"] == what:
                group["results"][OURS][KINDS[what].needed] = key
        written(path, {**whole, "contents": {**whole["contents"], key: base64.b64encode(text.encode()).decode()}})

    return change


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
        (lambda path: path.write_bytes(path.read_bytes() + b"more"), "something follows"),
        *((holding(what, facts), f"{what} of artifact") for what, facts in NONE_SUCH),
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
    with pytest.raises(BadInput, match=r"are cut short, or more than 9\.8 KiB"):
        put(accepted, models, Store(tmp_path / "second"), OURS)


def test_measurements_without_values_are_found(accepted: Path, models: dict[str, ReferenceModel]) -> None:
    assert not json_path(accepted, "seed_cnn").exists()
    assert [str(one) for one in check(models, accepted, today())] == [
        f"{path_of(accepted, 'seed_cnn')}: accepted measurements without seed_cnn.json; restore both files from git, "
        "or accept a run again"
    ]
