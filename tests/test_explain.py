"""`quantbench cache why`: which ingredient is another than it was."""

from pathlib import Path

from conftest import ROOT, Quantbench, ThreeCells

from bench import build, explain
from bench.reference import load_models
from bench.store import Store, digest
from bench.variants import VARIANTS


def test_what_differs_is_told_by_name() -> None:
    old = {
        "packages": {"tensorflow": "2.20.0", "numpy": "2.4"},
        "variant code": {"bench.variants.ptq._static": "a" * 64, "bench.variants.ptq.gone": "a" * 64},
        "code": {"build.py": "a" * 64},
        "float model": {
            "weights": "a" * 64,
            "source": {"build": {"m.build": "a" * 64}, "finetune": "Recipe(epochs=1)"},
        },
        "cpu": "A",
    }
    new = {
        "packages": {"tensorflow": "2.21.0", "numpy": "2.4"},
        "variant code": {"bench.variants.ptq._static": "b" * 64},
        "code": {"build.py": "b" * 64},
        "float model": {
            "weights": "b" * 64,
            "source": {"build": {"m.build": "b" * 64}, "finetune": "Recipe(epochs=2)"},
        },
        "cpu": "B",
    }
    assert list(explain.differences(old, new)) == [
        "bench/build.py changed",
        "cpu: A before, B now",
        "source of m.build (the model's build) changed",
        "float model, source, finetune: Recipe(epochs=1) before, Recipe(epochs=2) now",
        "float model, weights changed",
        "tensorflow 2.20.0 before, 2.21.0 now",
        "source of bench.variants.ptq._static changed",
        "source of bench.variants.ptq.gone is gone",
    ]
    assert list(explain.differences(new, new)) == []


def test_a_cell_before_and_after_a_run(quantbench: Quantbench, three_cells: ThreeCells, tmp_path: Path) -> None:
    own = {"QUANTBENCH_CACHE": str(three_cells.copied_store(tmp_path / "store"))}
    told = quantbench("cache", "why", "seed_cnn/ptq_static_wi8_ai8", **own).output
    for part in ("artifact", "evaluation", "contents", "memory"):
        assert f"{part}: in the store, " in told
    assert "float predictions: in the store" in quantbench("cache", "why", "seed_cnn/float32", **own).output
    listed = quantbench("cache", "ls", "ptq_static_wi8_ai8", **own).output
    assert "4 entries" in listed
    assert "seed_cnn/ptq_static_wi8_ai8" in listed
    never = quantbench("cache", "why", "seed_cnn/ptq_static_wi8_ai8", "--train", **own).output
    assert "artifact: not in the store; what is another" in never
    assert "float model, trained with seed is new" in never
    assert "and never was" in quantbench("cache", "why", "lstm/ptq_float16", **own).output
    slip = quantbench("cache", "why", "seed_cnn/ptq_flot16", **own)
    assert (slip.status, "did you mean ptq_float16?" in slip.output) == (4, True)


def test_asking_uses_nothing(tmp_path: Path) -> None:
    store, model = Store(tmp_path), load_models(ROOT / "models")["seed_cnn"]
    recipe = build.ingredients(model, VARIANTS["ptq_float16"], 0, None)
    folder = store.put(digest(recipe), {build.ARTIFACT: b"", "steps.txt": b"0"}, recipe)
    (folder / "steps.txt").write_bytes(b"1")
    before = folder.stat().st_mtime_ns
    told = explain.why(model, VARIANTS["ptq_float16"], 0, None, store)
    assert told[0] == "artifact: in the store, but damaged; the next run makes it again"
    assert folder.stat().st_mtime_ns == before


def test_the_nearest_entry_is_the_one_that_differs_least(tmp_path: Path) -> None:
    store, model = Store(tmp_path), load_models(ROOT / "models")["seed_cnn"]
    recipe = build.ingredients(model, VARIANTS["ptq_float16"], 0, None)
    near = recipe | {"packages": recipe["packages"] | {"tensorflow": "2.0.0"}}
    for other in (near | {"cpu": "another"}, near, recipe | {"what": "another kind"}):
        store.put(digest(other), {"x": b""}, other)
    told = explain.why(model, VARIANTS["ptq_float16"], 0, None, store)
    assert told[0] == "artifact: not in the store; what is another than in the nearest entry of 2:"
    assert told[1] == f"  tensorflow 2.0.0 before, {recipe['packages']['tensorflow']} now"
    assert "known once the artifact is there" in told[2]
