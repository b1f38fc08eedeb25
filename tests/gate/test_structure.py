"""What is really in an artifact that a converter made, and the judge that holds it to its name."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Quantbench, ThreeCells, edit
from made_up_runs import clustered
from quantbench import gate
from quantbench.build import artifact as build
from quantbench.build.store import Store
from quantbench.errors import BadInput
from quantbench.gate._quantization_spec import violations
from quantbench.measure.census import census, of_file, ranges
from quantbench.records import Amount, BaselineCell, Census, Compute, Verdict
from quantbench.reference.model import load_models
from quantbench.tflite.graph import COMPUTE, read
from quantbench.variants import TUNED, VARIANTS, keras3
from quantbench.variants.declare import QuantizationSpec
from quantbench.variants.tuned import NO_RECIPE

SUBJECT = gate.Subject("m", "v", "reports/r")
INT8 = QuantizationSpec(weights="int8", computes="integer")
Artifact = Callable[[str], bytes]


@pytest.fixture
def artifact(store: Path) -> Artifact:
    """The bytes of a cell of seed_cnn."""

    def made(variant: str) -> bytes:
        model = load_models(ROOT / "models")["seed_cnn"]
        built = build.artifact(model, VARIANTS[variant], 0, None, Store(store))
        assert built.path is not None
        return built.path.read_bytes()

    return made


TOO_LARGE = "aeq_dynamic_wi4_gptq_afp32"  # for the one dense layer of seed_cnn
TOO_FEW = "mixed_static_wi8_ai8_ends_float"  # layers has it for one to be left in int8
REFUSED = {
    TOO_LARGE: "the model has no dense layer whose rows have a length that the algorithm takes",
    TOO_FEW: "the model has 2 compute layers, and all of them would be left in float",
    TUNED: NO_RECIPE,
    "aeq_dynamic_wi8_b32_afp32": "the quantizer's policy refuses int8 weights of dense layers with BLOCKWISE_32 scales",
}
# Keras 3's own take seconds each, and most are not what their names say: see reports/reference/keras3_quantization.md.
UNTRAINED = [
    name
    for name, variant in VARIANTS.items()
    if not variant.trained and name not in REFUSED and variant.engine != keras3.ENGINE
]


@pytest.mark.parametrize("variant", UNTRAINED)
def test_every_artifact_of_seed_cnn_is_what_its_name_says(artifact: Artifact, variant: str) -> None:
    assert violations(VARIANTS[variant].promise, census(artifact(variant))) == []


@pytest.mark.parametrize("variant", REFUSED)
def test_what_cannot_keep_its_promise_is_refused_in_words(store: Path, variant: str) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]
    built = build.artifact(model, VARIANTS[variant], 0, None, Store(store))
    assert built.refusal == REFUSED[variant]


def test_weights_that_are_expanded_before_their_use_are_of_the_dtype_that_is_specified() -> None:
    expanded = QuantizationSpec(weights="int4", computes="float", stored="int4")
    product = Compute(index=0, operator="BATCH_MATMUL", precision="float")  # of an activation and what a cast gives
    held = {"int8": Amount(count=1, bytes=64), "float32": Amount(count=2, bytes=8)}
    rest = {"scales": 0, "activations": {}, "operators": {}, "inputs": [], "outputs": []}
    kept = Census(compute=[product], constants={**held, "int4": Amount(count=1, bytes=32)}, **rest)  # type: ignore[arg-type]
    assert _keys(expanded, kept) == ""
    unpacked = kept.model_copy(update={"constants": held})
    assert _keys(expanded, unpacked) == "no weights are stored as int4: the constants are float32, int8"


def _keys(promise: QuantizationSpec, found: Census) -> str:
    """What a baseline keeps of an accepted violation."""
    return "; ".join(one.key for one in violations(promise, found))


def _kernels(*shares: tuple[int, float, int]) -> Census:
    """A census of dense kernels: (weights, share of zeros, distinct values in a channel)."""
    compute = [
        {
            "operator": "FULLY_CONNECTED",
            "index": index,
            "precision": "integer",
            "weights": "int8",
            "shape": [1, size],
            "zeros": zeros,
            "distinct": distinct,
            "distinct_in_channel": distinct,
        }
        for index, (size, zeros, distinct) in enumerate(shares)
    ]
    empty: dict[str, object] = {name: {} for name in ("constants", "activations", "operators")}
    return Census.model_validate(empty | {"scales": 0, "inputs": [], "outputs": [], "compute": compute})


@pytest.mark.parametrize(
    ("kernels", "kept"),
    [
        ([(100, 0.5, 16)], True),
        ([(99, 49 / 99, 16)], True),  # half of an odd number, rounded
        ([(100, 0.48, 16)], False),
        ([(100, 0.5, 17)], False),
        ([(50, 0.5, 16), (50, 0.0, 200)], True),  # attention beside dense layers
        ([(40, 0.5, 16), (60, 0.0, 200)], False),
    ],
)
def test_a_promise_of_zeros_and_few_values(kernels: list[tuple[int, float, int]], kept: bool) -> None:
    promise = QuantizationSpec(sparsity=0.5, distinct=16)
    assert (violations(promise, _kernels(*kernels)) == []) is kept


def test_what_a_census_counts(artifact: Artifact) -> None:
    found = census(artifact("ptq_static_wi8_ai8"))
    assert found.constants["int8"].bytes == 32 * 9 + 10 * 5408
    assert found.operators["CONV_2D"] == {"integer": 1}
    assert [one.operator for one in found.compute] == ["CONV_2D", "FULLY_CONNECTED"]
    assert {one.operator for one in found.compute} <= set(COMPUTE)
    assert found.compute[0].granularity == "per-channel"
    packed = census(artifact("aeq_dynamic_wi4_afp32"))
    assert packed.constants["int4"].bytes == (32 * 9 + 10 * 5408) // 2
    assert max(one.distinct or 0 for one in packed.compute) <= 16


def test_int4_is_unpacked_as_the_runtime_does(artifact: Artifact) -> None:
    weights = next(
        t for t in read(artifact("aeq_dynamic_wi4_afp32")).tensors if t.dtype == "int4" and len(t.shape) == 2
    )
    exact = next(
        t
        for t in read(artifact("float32")).tensors
        if t.data is not None and t.dtype == "float32" and t.shape == weights.shape
    )
    step = np.reshape(weights.scales, (-1, 1))
    assert np.abs(weights.real_values() - exact.values()).max() <= 0.5001 * step.max()


def test_ranges_are_those_of_the_data(artifact: Artifact) -> None:
    found = {(one.constant, one.dtype): one for one in ranges(artifact("ptq_static_wi8_ai8"))}
    assert all(one.low <= 0 <= one.high for one in found.values())
    assert found[False, "int8"].high > 0


@pytest.mark.parametrize(
    ("variant", "promise", "words"),
    [
        ("float32", INT8, "2 of 2 compute operators are not int8 integer: 1 CONV_2D float32 float"),
        ("ptq_dynamic_wi8_afp32", INT8, "1 CONV_2D float32 float, 1 FULLY_CONNECTED int8 hybrid"),
        (
            "ptq_static_wi8_ai8",
            QuantizationSpec(weights="int4", computes="integer"),
            "2 of 2 compute operators are not int4 integer",
        ),
        ("ptq_static_wi8_ai8", QuantizationSpec(granularity="per-tensor"), "2 of 2 weight tensors are not per-tensor"),
        ("ptq_static_wi8_ai8", QuantizationSpec(granularity="blockwise"), "2 of 2 weight tensors are not blockwise"),
        ("qat_wi8_ai8_dense_only", INT8, "1 of 2 compute operators are not int8 integer"),
        ("ptq_static_wi8_ai8_int_io", INT8, "is int8, not float32"),
        ("float32", QuantizationSpec(all_integer=True), "operators left in float: 1 CONV_2D"),
        (
            "ptq_static_wi8_ai8",
            QuantizationSpec(sparsity=0.5),
            "kernels with 50 % zeros hold 0 % of the weights, 45 % are promised",
        ),
        (
            "ptq_static_wi8_ai8",
            QuantizationSpec(distinct=16),
            "at most 16 distinct values in a channel hold 1 % of the weights",
        ),
        (
            "ptq_static_wi8_ai8",
            QuantizationSpec(covers=("BATCH_MATMUL",), computes="integer"),
            "it has no BATCH_MATMUL",
        ),
        ("ptq_static_wi8_ai8", QuantizationSpec(computes="integer", in_float=(1, 1)), "1 to 1 in float are meant"),
    ],
)
def test_a_broken_promise_is_told(artifact: Artifact, variant: str, promise: QuantizationSpec, words: str) -> None:
    assert words in _keys(promise, census(artifact(variant)))


def _judge(found: Census, baseline: BaselineCell | None, promise: QuantizationSpec = INT8) -> list[Verdict]:
    return [judgement.verdict for judgement in gate.structure(SUBJECT, [found], promise, baseline, trained=False)]


def test_a_broken_promise_is_red_however_accurate_and_can_only_be_declared(artifact: Artifact) -> None:
    found = census(artifact("float32"))
    accepted = BaselineCell(census=found)
    assert _judge(found, accepted) == [Verdict.REGRESSED, Verdict.PASS]
    declared = accepted.model_copy(update={"broken_promise": _keys(INT8, found)})
    assert _judge(found, declared) == [Verdict.UNSUPPORTED, Verdict.PASS]
    whole = census(artifact("ptq_static_wi8_ai8"))
    assert _judge(whole, declared.model_copy(update={"census": whole})) == [Verdict.IMPROVED, Verdict.PASS]
    assert _judge(whole, None) == [Verdict.PASS, Verdict.MISSING]


def test_a_declared_reason_covers_no_other(artifact: Artifact) -> None:
    float32, dynamic = census(artifact("float32")), census(artifact("ptq_dynamic_wi8_afp32"))
    declared = BaselineCell(census=dynamic, broken_promise=_keys(INT8, dynamic))
    assert _judge(dynamic, declared)[0] is Verdict.UNSUPPORTED
    assert _judge(float32, declared)[0] is Verdict.REGRESSED


def test_every_seed_has_to_keep_the_promise(artifact: Artifact) -> None:
    good, bad = census(artifact("ptq_static_wi8_ai8")), census(artifact("float32"))
    first, _ = gate.structure(SUBJECT, [good, bad], INT8, BaselineCell(census=good), trained=True)
    assert first.verdict is Verdict.REGRESSED


def test_a_model_without_anything_to_quantize_keeps_no_promise_to_quantize() -> None:
    assert _keys(INT8, _kernels()) == "it has no compute operator with weights to be quantized"
    assert violations(QuantizationSpec(weights="int8", min_elements=1024), _kernels((100, 0.0, 9))) != []
    assert violations(QuantizationSpec(weights="float32", computes="float"), _kernels()) == []


def test_a_scale_that_is_no_number_is_told_and_crashes_nothing(artifact: Artifact) -> None:
    content = artifact("ptq_static_wi8_ai8_int_io")
    scale = next(t for t in read(content).tensors if t.data is None and t.scales).scales[0]
    stored = np.float32(scale).tobytes()
    assert stored in content
    found = census(content.replace(stored, np.float32(np.nan).tobytes()))
    assert found.degenerate
    assert "empty range" in _keys(QuantizationSpec(io=None), found)


def _damaged(found: Census, what: str) -> Census:
    data = json.loads(found.model_dump_json())
    if what == "a bias less":
        data["constants"]["int32"]["count"] -= 1
    elif what == "an operator more":
        data["operators"]["QUANTIZE"] = {"cast": 1}
    elif what == "a layer in float":
        data["compute"][0]["precision"] = "float"
    elif what == "one scale for all channels":
        data["compute"][0]["granularity"] = "per-tensor"
    elif what == "a channel of zeros":
        data["compute"][0]["zeros"] += 1 / 32
    elif what == "fewer levels":
        data["compute"][1]["distinct"] = 15
    elif what == "an input scale":
        data["inputs"][0]["scale"] *= 1.02
    elif what == "an input zero point":
        data["inputs"][0]["zero_point"] += 3
    elif what == "no input scale":
        del data["inputs"][0]["scale"]
    elif what == "an input dtype":
        data["inputs"][0]["dtype"] = "uint8"
    elif what == "an empty range":
        data["degenerate"] = ["softmax"]
    return Census.model_validate(data)


@pytest.mark.parametrize(
    "what",
    [
        "a bias less",
        "an operator more",
        "a layer in float",
        "one scale for all channels",
        "a channel of zeros",
        "fewer levels",
        "an input scale",
        "an input zero point",
        "no input scale",
        "an input dtype",
        "an empty range",
    ],
)
def test_whatever_an_artifact_is_newly_made_of_is_red(artifact: Artifact, what: str) -> None:
    found, promise = census(artifact("ptq_static_wi8_ai8_int_io")), VARIANTS["ptq_static_wi8_ai8_int_io"].promise
    assert set(_judge(found, BaselineCell(census=found), promise)) == {Verdict.PASS}
    by_census = _judge(_damaged(found, what), BaselineCell(census=found), promise)[1]
    assert by_census is Verdict.REGRESSED


@pytest.mark.parametrize(
    ("moved", "told"),
    [
        ({"zeros": 0.132}, ""),
        ({"zeros": 0.2}, "zeros 0.2 % → 20.0 %"),
        ({"distinct": 20}, ""),
        ({"distinct_in_channel": 12}, ""),
        ({"distinct_in_channel": 24}, "distinct values in a channel 16 → 24"),
        ({"distinct_in_channel": 8}, "distinct values in a channel 16 → 8"),
        ({"scale": 0.0142}, ""),
        ({"scale": 0.02}, "scale 0.01 → 0.02"),
        ({"range": 0.025}, ""),
        ({"range": 0.0275}, "1 of 1 activation ranges"),
    ],
)
def test_another_training_may_move_what_chance_moves(moved: dict[str, float], told: str) -> None:
    found = gate.differences(clustered(**moved), clustered(), trained=True)
    assert [told in one.words for one in found] == [True] * bool(told), found
    assert gate.differences(clustered(**{"distinct": 20} | moved), clustered(), trained=False)


def test_a_float_artifact_under_an_int8_name_is_red_in_a_real_run(
    quantbench: Quantbench, artifact: Artifact, three_cells: ThreeCells, tmp_path: Path
) -> None:
    int8, float32 = artifact("ptq_static_wi8_ai8"), artifact("float32")
    private = three_cells.copied_store(tmp_path / "store")
    model, variant = load_models(ROOT / "models")["seed_cnn"], VARIANTS["ptq_static_wi8_ai8"]
    built = build.find(model, variant, 0, None, Store(private))
    assert built is not None
    assert built.path is not None
    assert built.path.read_bytes() == int8
    built.path.write_bytes(float32)
    edit(built.path.parent / "entry.json", lambda entry: entry["files"].update({"artifact.tflite": _sha256(float32)}))
    chosen = ["--models", "seed_cnn", "--variants", "ptq_static_wi8_ai8", "--no-latency"]
    done = quantbench("run", *chosen, "-k", "test_structure", QUANTBENCH_CACHE=str(private))
    assert done.status == 1, done.output
    assert "not quantized as specified: 2 of 2 layers are not int8 integer" in done.output


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_inspecting_a_file_and_what_is_none(quantbench: Quantbench, artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(artifact("ptq_static_wi8_ai8"))
    done = quantbench("inspect", str(path))
    assert re.search(r"\| FULLY_CONNECTED +\| integer +\| int8 +\| per-channel +\| 10x5408", done.output)
    for damage in (b"", b"nothing of the kind", path.read_bytes()[:500]):
        path.write_bytes(damage)
        with pytest.raises(BadInput, match=r"is not a whole \.tflite file"):
            of_file(path)
    assert quantbench("inspect", "seed_cnn/nothing", "--run", str(tmp_path)).status == 4


def test_the_width_of_activations_is_part_of_the_spec() -> None:
    def wrong(spec: str, operators: dict[str, dict[str, int]], **activations: int) -> list[str]:
        found = Census(
            constants={}, scales=0, activations=activations, operators=operators, inputs=[], outputs=[], compute=[]
        )
        return [one.words for one in violations(VARIANTS[spec].promise, found) if "integer activations" in one.words]

    plain, lstm = {"CONV_2D": {"integer": 1}}, {"UNIDIRECTIONAL_SEQUENCE_LSTM": {"integer": 1}}
    assert wrong("ptq_static_wi8_ai8", plain, int16=6) == ["6 of 6 integer activations are int16, not int8"]
    assert wrong("ptq_static_wi8_ai8", plain, int16=1, int8=9) == ["1 of 10 integer activations are int16, not int8"]
    assert wrong("ptq_static_wi8_ai16", plain, int8=6) == ["6 of 6 integer activations are int8, not int16"]
    assert wrong("ptq_static_wi8_ai8", lstm, int16=1, int8=7) == []  # its cell state
    assert wrong("ptq_static_wi8_ai8", lstm, int16=7, int8=1) != []
    assert wrong("ptq_static_wi8_ai8", lstm, int16=20, int8=30) != []  # more than one LSTM can keep
    for spec in ("ptq_static_wi8_ai8", "ptq_static_wi8_ai16"):
        width = VARIANTS[spec].promise.activations
        assert wrong(spec, plain, uint8=6) == [f"6 of 6 integer activations are uint8, not {width}"]
    assert VARIANTS["ptq_dynamic_wi8_afp32"].promise.activations is None
