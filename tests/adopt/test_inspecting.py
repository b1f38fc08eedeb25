"""What a file that another tool has built is, and whether it is one of the model: one sentence each where it is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantbench.adopt.inspecting import check_fits, check_shapes, inspect
from quantbench.errors import BadInput
from quantbench.tflite import vela

from .make_built import CLASSES, INPUTS, KERNEL, custom, dense

COMPILED = Path(__file__).with_name("compiled") / "tiny_vela.tflite"
SUMMARY = COMPILED.with_name("tiny_summary_Ethos_U55_High_End_Embedded.csv")
ONE_IN = {"x": ((1, INPUTS), np.dtype("float32"))}


def of(folder: Path, content: bytes) -> Path:
    path = folder / "vendor.tflite"
    path.write_bytes(content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        inspect(path)
    return str(caught.value)


def test_what_is_quantized_is_told(tmp_path: Path) -> None:
    found = inspect(of(tmp_path, dense(scale=0.03)))
    assert found.structure.model_dump() == {
        "layers": 1,
        "weights": {"int8": 1},
        "computes": {"hybrid": 1},
        "granularity": {},
        "inputs": ["float32"],
        "outputs": ["float32"],
        "keeps": ["dynamic"],
    }
    assert inspect(of(tmp_path, dense())).structure.keeps == ["float32"]


def test_a_truncated_file_and_somebody_elses_operator_are_refused(tmp_path: Path) -> None:
    content = dense(scale=0.03)
    for length in (len(content) // 2, len(content) - 600, 7):
        assert refused(of(tmp_path, content[:length])).startswith(f"{tmp_path / 'vendor.tflite'}: ")
    assert "it uses an operator that LiteRT lacks, TheirOp" in refused(of(tmp_path, custom(b"TheirOp")))
    assert "no such file" in refused(tmp_path / "gone.tflite")
    assert "run git lfs pull" in refused(of(tmp_path, b"version https://git-lfs.github.com/spec/v1\nsize 3\n"))


@pytest.mark.parametrize(("name", "compiler"), [(b"ethos-u", "Ethos-U"), (b"edgetpu-custom-op", "Edge TPU")])
def test_a_compiled_file_is_told_by_name(tmp_path: Path, name: bytes, compiler: str) -> None:
    found = inspect(of(tmp_path, custom(name))).compiled
    assert found is not None
    assert (found.compiler, found.operators, found.left) == (compiler, 1, {"SOFTMAX": 1})


def test_a_file_that_vela_compiled_and_its_summary() -> None:
    """Vela 5.2 took a convolution and a tanh of this file, and left a cast and an exp to the CPU, as it said."""
    found = inspect(COMPILED).compiled
    assert found is not None
    assert (found.operators, found.left) == (1, {"DEQUANTIZE": 1, "EXP": 1})
    figures, about = vela.read(SUMMARY, COMPILED.stem)
    assert found.figures == {"left_macs": 0}
    assert vela.with_share({**found.figures, **figures})["left_share"] == 0
    assert vela.with_share({"left_macs": 1.0, "macs": 3.0})["left_share"] == 0.25
    assert "left_share" not in vela.with_share({"left_macs": 1.0})
    assert figures["sram"] == 4 * 1024
    assert figures["cycles"] == figures["npu_cycles"] == 1152
    assert about["accelerator_configuration"] == "Ethos_U55_128"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "expected the columns sram_memory_used and cycles_total, found a, b, ..."),
        ("", "found no line"),
        (
            "network,sram_memory_used,cycles_total\ntiny,4,many\n",
            "column cycles_total: expected a number of at least 0, found 'many'",
        ),
        ("network,sram_memory_used,cycles_total\none,4,5\ntwo,4,5\n", "has 2 networks, and none or several are called"),
        (
            "network,sram_memory_used,cycles_total\nother,4,5\n",
            "is of the network other, and the file is called tiny_vela",
        ),
        ("network,sram_memory_used,cycles_total\nt,4,5\n", "where it was renamed, call it t_vela.tflite again"),
        ("network,sram_memory_used,cycles_total\n,4,5\n", "names no network in its column network"),
        ("network,sram_memory_used,cycles_total\nt,4,5\ntiny_vela_2,4,5\n", "none or several are called"),
    ],
)
def test_what_is_no_summary_of_vela(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(BadInput) as caught:
        vela.read(tmp_path / "s.csv", "tiny_vela")
    assert words in str(caught.value)


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    one = inspect(of(tmp_path, dense(scale=0.03)))
    outputs = {"": (CLASSES,)}
    check_fits(one, ONE_IN, outputs, "m.keras")
    named = {name: ((1, INPUTS), np.dtype("float32")) for name in ("a", "b")}
    cases = [
        (one, {"x": ((1, INPUTS + 1), np.dtype("float32"))}, outputs, "its input has shape 64, and that of m.keras 65"),
        (one, {"x": ((1, INPUTS), np.dtype("int32"))}, outputs, "its input is float32 without a scale, and that of m"),
        (one, named, outputs, "its inputs are x, and those of m.keras a, b: expected the same names"),
        (replace(one, inputs={"b": named["b"], "c": named["b"]}), named, outputs, "its inputs are b, c, and those of"),
        (one, ONE_IN, {"": (CLASSES + 1,)}, "its output has shape 16, and that of m.keras 17"),
        (one, ONE_IN, {"a": (CLASSES,), "b": (1,)}, "its outputs are one without a name, and those of m.keras a, b"),
    ]
    for file, inputs, wanted, words in cases:
        with pytest.raises(BadInput) as caught:
            check_fits(file, inputs, wanted, "m.keras")
        assert words in str(caught.value)
    pictures = replace(one, inputs={"x": ((1, 3, 8, 8), np.dtype("float32"))})
    with pytest.raises(BadInput, match="axes are in another order"):
        check_fits(pictures, {"x": ((1, 8, 8, 3), np.dtype("float32"))}, outputs, "m.keras")
    # By name, the order of the inputs does not matter.
    check_fits(replace(one, inputs={"b": named["b"], "a": named["a"]}), named, outputs, "m.keras")
    assert KERNEL.shape == (CLASSES, INPUTS)


def test_a_compiled_file_of_another_model_is_refused_by_its_shapes(tmp_path: Path) -> None:
    one = inspect(of(tmp_path, custom(b"ethos-u")))
    check_shapes(one, {"x": ((1, 4), np.dtype("float32"))}, {"": (4,)}, "m.keras")
    free: Any = (1, None)
    check_shapes(one, {"x": (free, np.dtype("float32"))}, {"": (-1, 2)}, "m.keras")
    with pytest.raises(BadInput, match=r"its outputs have shape 4, and those of m\.keras -1×3"):
        check_shapes(one, {"x": (free, np.dtype("float32"))}, {"": (-1, 3)}, "m.keras")
    with pytest.raises(BadInput, match=r"its inputs have shape 4, and those of m\.keras 64: expected the same"):
        check_shapes(one, ONE_IN, {"": (4,)}, "m.keras")
    with pytest.raises(BadInput, match=r"its outputs have shape 4, and those of m\.keras 16"):
        check_shapes(one, {"x": ((1, 4), np.dtype("float32"))}, {"": (CLASSES,)}, "m.keras")
