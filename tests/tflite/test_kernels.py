"""Kernels of XNNPACK's are told apart by the operators that they compute."""

from quantbench.tflite.kernels import assigned

CONV, DEPTHWISE = "Convolution (NHWC, QC8) IGEMM", "Convolution (NHWC, QC8) DWConv"


def test_kernels_belong_to_the_operators_of_their_kind_in_order() -> None:
    operators = ["QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    kernels = ["Convert (NC)", CONV, DEPTHWISE, "Fully Connected (NC, F32) GEMM", "Add (ND)", "Mean (ND) Reduce"]
    assert assigned(kernels, operators) == [0, 1, 2, 3, 4, 5]


def test_an_operator_that_runs_elsewhere_is_passed_over() -> None:
    operators = ["CONV_2D", "SOFTMAX", "CONV_2D", "RSQRT", "MUL"]
    assert assigned([CONV, CONV, "Reciprocal Square Root (NC)"], operators) == [0, 2, 3]
    assert assigned([CONV, "Multiply (ND)"], operators) == [0, 4]


def test_what_an_operator_is_split_into_belongs_to_it() -> None:
    operators = ["ADD", "FULLY_CONNECTED"]
    kernels = ["Add (ND)", "Clamp (NC)", "Convert (NC, F32, QD8)", "Fully Connected (NC, QD8, F32, QC8W) GEMM"]
    assert assigned(kernels, operators) == [0, 0, 1, 1]


def test_kernels_that_fit_nothing_are_of_no_operator() -> None:
    assert assigned(["Rope (NTHC)"], ["CONV_2D"]) == [None]
    assert assigned([], ["CONV_2D"]) == []
    assert assigned([CONV], []) == [None]
