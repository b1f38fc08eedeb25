"""Say which operator of an artifact each kernel of XNNPACK's computes.

XNNPACK names kernels by what they compute, ``Convolution (NHWC, QC8) IGEMM``, in the order in which they run, and not
by the operator that they stem from. It splits some operators (an addition and its activation), and joins others. So
both lists are aligned in order, by kind.

Source: longest common subsequence, by dynamic programming.
"""

from collections.abc import Sequence

# Kernel, up to the bracket -> operators; where both have one name, they need not be here.
_KINDS = {
    "CONVOLUTION": ("CONV_2D", "DEPTHWISE_CONV_2D"),
    "DECONVOLUTION": ("TRANSPOSE_CONV",),
    "FULLY_CONNECTED": ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D"),  # of a kernel of 1 x 1
    "DYNAMIC_FULLY_CONNECTED": ("FULLY_CONNECTED", "BATCH_MATMUL"),
    "BATCH_MATRIX_MULTIPLY": ("BATCH_MATMUL",),
    "CONVERT": ("QUANTIZE", "DEQUANTIZE", "CAST"),
    "COPY": ("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "DEQUANTIZE"),
    "STATIC_RESHAPE": ("RESHAPE", "EXPAND_DIMS", "SQUEEZE"),
    "SUBTRACT": ("SUB",),
    "MULTIPLY": ("MUL",),
    "DIVIDE": ("DIV",),
    "CLAMP": ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"),
    "SIGMOID": ("LOGISTIC",),
    "HARDSWISH": ("HARD_SWISH",),
    "LEAKY_RELU": ("LEAKY_RELU",),
    "AVERAGE_POOLING": ("AVERAGE_POOL_2D",),
    "GLOBAL_AVERAGE_POOLING": ("MEAN", "AVERAGE_POOL_2D"),
    "MAX_POOLING": ("MAX_POOL_2D",),
    "CONSTANT_PAD": ("PAD", "PADV2"),
    "SLICE": ("SLICE", "STRIDED_SLICE"),
    "CONCATENATE": ("CONCATENATION",),
    "EVEN_SPLIT": ("SPLIT",),
    "RECIPROCAL_SQUARE_ROOT": ("RSQRT",),
    "SQUARE_ROOT": ("SQRT",),
    "NEGATE": ("NEG",),
    "ABS": ("ABS",),
}
# What prepares the inputs of the operator that comes next.
_BEFORE = ("CONVERT", "CONSTANT_PAD")


def assigned(kernels: Sequence[str], operators: Sequence[str]) -> list[int | None]:
    """Return the operator that each kernel computes, by its position in ``operators``; None where none fits.

    A kernel of another kind belongs to the operator of the kernel before it, or after it where it prepares an input.

    Args:
        kernels: XNNPACK's names, in the order of running.
        operators: names of LiteRT's operators, in the file's order.
    """
    found = _aligned([_kinds(name) for name in kernels], operators)
    for place in range(len(found)):
        if found[place] is None and place and _kind(kernels[place]) not in _BEFORE:
            found[place] = found[place - 1]
    for place in reversed(range(len(found) - 1)):
        if found[place] is None:
            found[place] = found[place + 1]
    return found


def _kind(name: str) -> str:
    return name.split(" (")[0].strip().upper().replace(" ", "_")


def _kinds(name: str) -> tuple[str, ...]:
    if name.endswith("DWConv"):
        return ("DEPTHWISE_CONV_2D",)
    kind = _kind(name)
    return _KINDS.get(kind, (kind,))


def _aligned(kernels: Sequence[tuple[str, ...]], operators: Sequence[str]) -> list[int | None]:
    """Pair as many kernels as possible with operators of their kinds, in the order of both."""
    rows, columns = len(kernels), len(operators)
    most = [[0] * (columns + 1) for _ in range(rows + 1)]  # pairs from (kernel, operator) on
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            pair = most[i + 1][j + 1] + 1 if operators[j] in kernels[i] else 0
            most[i][j] = max(pair, most[i + 1][j], most[i][j + 1])
    found: list[int | None] = [None] * rows
    i = j = 0
    while i < rows and j < columns:
        if operators[j] in kernels[i] and most[i][j] == most[i + 1][j + 1] + 1:
            found[i] = j
            i, j = i + 1, j + 1
        elif most[i + 1][j] >= most[i][j + 1]:
            i += 1
        else:
            j += 1
    return found
