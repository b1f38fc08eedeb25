"""How much an operator multiplies, from the shapes of its tensors."""

from types import SimpleNamespace

import pytest
from made_up_graphs import layers, loop
from quantbench.measure.work import operations_of
from quantbench.tflite.graph import Graph, Operator, Tensor, read
from quantbench.tflite.work import left_macs, macs


def of(name: str, *shapes: tuple[int, ...], out: tuple[int, ...], **options: bool) -> int:
    tensors = [Tensor(str(place), "int8", shape, b"" if place else None) for place, shape in enumerate(shapes)]
    operator = Operator(name, tuple(tensors), (Tensor("out", "int8", out, None),), SimpleNamespace(**options))
    return macs(Graph([], [operator], [], []), operator)


@pytest.mark.parametrize(
    ("name", "shapes", "out", "expected"),
    [
        ("CONV_2D", [(1, 8, 8, 3), (16, 3, 3, 3)], (1, 4, 4, 16), 4 * 4 * 16 * 27),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 16), (1, 3, 3, 16)], (1, 8, 8, 16), 8 * 8 * 16 * 9),
        ("FULLY_CONNECTED", [(1, 64), (10, 64)], (1, 10), 640),
        ("TRANSPOSE_CONV", [(4,), (8, 2, 2, 3), (1, 5, 5, 3)], (1, 10, 10, 8), 5 * 5 * 3 * 8 * 4),
        ("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 5)], (1, 4, 4, 4, 5), 4 * 4 * 4 * 5 * 27 * 2),
        ("BATCH_MATMUL", [(2, 7, 5), (2, 5, 3)], (2, 7, 3), 2 * 7 * 3 * 5),
        ("UNIDIRECTIONAL_SEQUENCE_RNN", [(1, 9, 4), (6, 4), (6, 6)], (1, 9, 6), 9 * (24 + 36)),
        ("SOFTMAX", [(1, 10)], (1, 10), 0),
        ("CONV_2D", [(1, 8, 8, 3)], (1, 4, 4, 16), 0),
    ],
)
def test_work_follows_from_the_shapes(
    name: str, shapes: list[tuple[int, ...]], out: tuple[int, ...], expected: int
) -> None:
    assert of(name, *shapes, out=out) == expected


def test_a_product_that_reads_its_first_factor_transposed() -> None:
    assert of("BATCH_MATMUL", (2, 5, 7), (2, 5, 3), out=(2, 7, 3), adjX=True) == 2 * 7 * 3 * 5


def test_a_call_is_estimated_by_the_same_count() -> None:
    """Of a transposed convolution each input value is multiplied, not each output value."""
    shapes = [(4,), (8, 2, 2, 3), (1, 5, 5, 3)]
    tensors = [Tensor(str(place), "int8", shape, b"" if place else None) for place, shape in enumerate(shapes)]
    up = Operator("TRANSPOSE_CONV", tuple(tensors), (Tensor("out", "int8", (1, 10, 10, 8), None),), SimpleNamespace())
    last = Operator("SOFTMAX", up.outputs, (Tensor("end", "int8", (1, 10, 10, 8), None),), SimpleNamespace())
    assert operations_of(Graph([], [up, last], [], [])) == 5 * 5 * 3 * 8 * 4 + 800


def test_work_of_whole_files() -> None:
    graph = read(layers())
    assert [macs(graph, one) for one in graph.operators] == [16, 16, 16]
    assert sum(macs(graph, one) for one in read(loop()).operators) > 0


def test_what_an_accelerator_left_is_bounded_by_how_many_and_of_which_kinds() -> None:
    def layer(name: str, outputs: int) -> Operator:
        tensors = [Tensor(str(i), "int8", shape, None) for i, shape in enumerate([(1, 10), (outputs, 10)])]
        return Operator(name, tuple(tensors), (Tensor("o", "int8", (1, outputs), None),), SimpleNamespace())

    small, large = layer("FULLY_CONNECTED", 1), layer("FULLY_CONNECTED", 9)
    graph = Graph([], [small, large, layer("RESHAPE", 5), layer("CONV_2D", 2)], [], [])
    assert left_macs(graph, 0, []) == (0, 0)
    assert left_macs(graph, 1, ["RESHAPE"]) == (0, 0)
    assert left_macs(graph, 1, ["FULLY_CONNECTED"]) == (10, 90)
    assert left_macs(graph, 2, ["FULLY_CONNECTED", "RESHAPE"]) == (10, 90)
    assert left_macs(graph, 3, ["FULLY_CONNECTED", "RESHAPE"]) == (30, 110)
    assert left_macs(graph, 2, ["RESHAPE"]) == (10, 90)  # and another, which it takes but left in between
    assert left_macs(graph, 4, ["RESHAPE"])[1] == sum(macs(graph, one) for one in graph.operators)
    many = Graph([], [large, *(layer("RESHAPE", 5) for _ in range(3))], [], [])
    assert left_macs(many, 2, ["RESHAPE"]) == (0, 90)  # though there are enough of the kind that it named
