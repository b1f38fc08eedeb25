"""`quantbench cache why`: which ingredient is another than it was."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Quantbench, ThreeCells
from quantbench.build import artifact as build
from quantbench.build.store import Store, digest
from quantbench.engine import cache_explain
from quantbench.measure import gpu, gpu_devices
from quantbench.records import Device
from quantbench.reference.model import load_models
from quantbench.variants import VARIANTS


def test_what_differs_is_told_by_name() -> None:
    old = {
        "packages": {"tensorflow": "2.20.0", "numpy": "2.4"},
        "variant code": {"quantbench.variants.ptq._static": "a" * 64, "quantbench.variants.ptq.gone": "a" * 64},
        "code": {"quantbench.build.artifact": "a" * 64},
        "float model": {
            "weights": "a" * 64,
            "source": {"build": {"m.build": "a" * 64}, "finetune": "Recipe(epochs=1)"},
        },
        "cpu": "A",
    }
    new = {
        "packages": {"tensorflow": "2.21.0", "numpy": "2.4"},
        "variant code": {"quantbench.variants.ptq._static": "b" * 64},
        "code": {"quantbench.build.artifact": "b" * 64},
        "float model": {
            "weights": "b" * 64,
            "source": {"build": {"m.build": "b" * 64}, "finetune": "Recipe(epochs=2)"},
        },
        "cpu": "B",
    }
    assert list(cache_explain.differences(old, new)) == [
        "the source of quantbench.build.artifact changed",
        "cpu: A before, B now",
        "source of m.build (the model's build) changed",
        "float model, source, finetune: Recipe(epochs=1) before, Recipe(epochs=2) now",
        "float model, weights changed",
        "tensorflow 2.20.0 before, 2.21.0 now",
        "source of quantbench.variants.ptq._static changed",
        "source of quantbench.variants.ptq.gone is gone",
    ]
    assert list(cache_explain.differences(new, new)) == []


def test_a_cell_before_and_after_a_run(quantbench: Quantbench, three_cells: ThreeCells, tmp_path: Path) -> None:
    own = {"QUANTBENCH_CACHE": str(three_cells.copied_store(tmp_path / "store"))}
    told = quantbench("cache", "why", "seed_cnn/ptq_static_wi8_ai8", **own).output
    for part in ("artifact", "evaluation", "contents", "gzip size", "memory"):
        assert f"{part}: cached, " in told
    assert "float predictions: cached" in quantbench("cache", "why", "seed_cnn/float32", **own).output
    listed = quantbench("cache", "ls", "ptq_static_wi8_ai8", **own).output
    for part in ("artifact", "evaluation", "contents", "gzip size", "memory", "other kernels"):
        assert f"1 {part} " in listed
    assert "seed_cnn/ptq_static_wi8_ai8" in listed
    never = quantbench("cache", "why", "seed_cnn/ptq_static_wi8_ai8", "--train", **own).output
    assert "artifact: not cached. Changed since" in never
    assert "float model, trained with seed is new" in never
    assert "not cached: never made, or removed since" in quantbench("cache", "why", "lstm/ptq_float16", **own).output
    slip = quantbench("cache", "why", "seed_cnn/ptq_flot16", **own)
    assert (slip.status, "did you mean ptq_float16?" in slip.output) == (4, True)


def test_asking_uses_nothing(tmp_path: Path) -> None:
    store, model = Store(tmp_path), load_models(ROOT / "models")["seed_cnn"]
    recipe = build.ingredients(model, VARIANTS["ptq_float16"], 0, None)
    folder = store.put(digest(recipe), {build.ARTIFACT: b"", "steps.txt": b"0"}, recipe)
    (folder / "steps.txt").write_bytes(b"1")
    before = folder.stat().st_mtime_ns
    told = cache_explain.why(model, VARIANTS["ptq_float16"], 0, None, store)
    assert told[0] == "artifact: cached, but damaged; the next run makes it again"
    assert folder.stat().st_mtime_ns == before


def test_the_nearest_entry_is_the_one_that_differs_least(tmp_path: Path) -> None:
    store, model = Store(tmp_path), load_models(ROOT / "models")["seed_cnn"]
    recipe = build.ingredients(model, VARIANTS["ptq_float16"], 0, None)
    near = recipe | {"packages": recipe["packages"] | {"tensorflow": "2.0.0"}}
    for other in (near | {"cpu": "another"}, near, recipe | {"what": "another kind"}):
        store.put(digest(other), {"x": b""}, other)
    told = cache_explain.why(model, VARIANTS["ptq_float16"], 0, None, store)
    assert told[0] == "artifact: not cached. Changed since the closest of 2 entries:"
    assert told[1] == f"  tensorflow 2.0.0 before, {recipe['packages']['tensorflow']} now"
    assert "known once the artifact is cached" in told[2]


@pytest.mark.parametrize("train_seed", [None, 0])
def test_what_is_told_of_a_training_is_what_it_is_kept_under(
    train_seed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kept = load_models(ROOT / "models")["seed_cnn"], list[dict[str, Any]]()

    def note(_: Store, recipe: dict[str, Any], __: object) -> None:
        kept.append(recipe)
        raise InterruptedError

    monkeypatch.setattr(build, "_shared_weights", note)
    named = set()
    for variant in (one for one in VARIANTS.values() if one.trained):
        told = cache_explain.trainings(variant, build.ingredients(model, variant, 1, train_seed), 1)
        assert ("float weights" in told) == (train_seed is not None)
        named |= set(told) - {"float weights"}
        for make in cache_explain.stages(variant.make):
            with pytest.raises(InterruptedError):
                build.StoreWorkbench(model, 1, train_seed, Store(tmp_path)).stage(make)
            assert kept[-1] in told.values()
        if train_seed is not None:
            with pytest.raises(InterruptedError):
                build._trained_weights(model, train_seed, Store(tmp_path))
            assert kept[-1] == told["float weights"]
    trainings = ("finetuned", "finetuned_twice", "finetuned_thrice", "pruned", "clustered", "pruned_clustered")
    assert named == {f"stage {name}" for name in trainings}


def test_a_stage_is_held_against_one_of_its_own_kind(tmp_path: Path) -> None:
    store, models = Store(tmp_path), load_models(ROOT / "models")

    def stage_of(model: str, variant: str) -> dict[str, Any]:
        made_of = build.ingredients(models[model], VARIANTS[variant], 0, None)
        return cache_explain.trainings(VARIANTS[variant], made_of, 0)["stage clustered"]

    wanted = stage_of("seed_cnn", "clustered32_float32")
    old = wanted | {"packages": wanted["packages"] | {"tensorflow": "2.0.0", "tf-keras": "2.0.0"}}
    for other in (stage_of("seed_cnn", "clustered16_float32"), stage_of("lstm", "clustered32_float32"), old):
        store.put(digest(other), {"x": b""}, other)
    told = cache_explain.why(models["seed_cnn"], VARIANTS["clustered32_static_wi8_ai8"], 0, None, store)
    assert told[1] == "stage clustered: not cached. Changed since the closest of 1 entry:"
    assert told[2] == f"  tensorflow 2.0.0 before, {wanted['packages']['tensorflow']} now"
    store.put(digest(wanted), {"x": b""}, wanted)
    told = cache_explain.why(models["seed_cnn"], VARIANTS["clustered32_static_wi8_ai8"], 0, None, store)
    assert told[1].startswith("stage clustered: cached, ")


def test_what_was_measured_on_a_gpu_is_told_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, model = Store(tmp_path), load_models(ROOT / "models")["seed_cnn"]
    device = Device(name="A GPU", kind="discrete", driver="d 1")
    monkeypatch.delenv(gpu_devices.CHOICE, raising=False)

    def gpu_lines(found: gpu_devices.Found) -> list[str]:
        monkeypatch.setattr(gpu_devices, "find", lambda: found)
        told = cache_explain.why(model, VARIANTS["ptq_float16"], 0, None, store)
        return told[next((i for i, line in enumerate(told) if line.startswith("gpu")), len(told)) :]

    made = build.ingredients(model, VARIANTS["ptq_float16"], 0, None)
    artifact = gpu.Artifact(store.put(digest(made), {build.ARTIFACT: b"1"}, made), digest_of(b"1"))
    assert gpu_lines(gpu_devices.Found([device])) == []
    control = gpu.Artifact(artifact.path, digest_of(b"0"))
    recipe = gpu.recipe(artifact, control, model, device)
    old = recipe | {"packages": {"ai-edge-litert": "1.0"}}
    store.put(digest(old), {"x": b""}, old)
    assert gpu_lines(gpu_devices.Found(reason="no driver")) == ["gpu: not measured here: no driver"]
    assert "known once" in gpu_lines(gpu_devices.Found([device]))[0]
    made = build.ingredients(model, VARIANTS["float32"], 0, None)
    store.put(digest(made), {build.ARTIFACT: b"0"}, made)
    told = gpu_lines(gpu_devices.Found([device]))
    assert told[0] == "gpu: not cached. Changed since the closest of 1 entry:"
    assert told[1] == f"  ai-edge-litert 1.0 before, {recipe['packages']['ai-edge-litert']} now"
    store.put(digest(recipe), {"x": b""}, recipe)
    assert gpu_lines(gpu_devices.Found([device]))[0].startswith("gpu: cached, ")


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
