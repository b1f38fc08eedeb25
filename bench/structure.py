"""What is really in an artifact: its operators with the dtypes that they compute in.

Read with LiteRT's own schema of the ``.tflite`` flatbuffer; no interpreter is started.
"""

from dataclasses import dataclass

# The operators that hold a network's weights and do its arithmetic.
COMPUTE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM")


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        name: of the builtin, or of the custom operator.
        inputs: dtype of each input tensor (activations first, then weights), ``none`` where one is left out.
    """

    name: str
    inputs: tuple[str, ...]

    @property
    def in_float(self) -> bool:
        """Whether it computes on float activations or float weights."""
        return any(dtype in ("float32", "float16") for dtype in self.inputs[:2])


def operators(artifact: bytes) -> list[Operator]:
    """Every operator of every subgraph, in order."""
    from ai_edge_litert import schema_py_generated as schema

    builtin = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    dtype = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(artifact, 0))
    codes = [_code_name(code, builtin) for code in model.operatorCodes]
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            inputs = [] if operator.inputs is None else list(operator.inputs)
            dtypes = tuple("none" if i < 0 else dtype[graph.tensors[i].type] for i in inputs)
            found.append(Operator(codes[operator.opcodeIndex], dtypes))
    return found


def _code_name(code: object, builtin: dict[int, str]) -> str:
    number = max(getattr(code, "builtinCode", 0), getattr(code, "deprecatedBuiltinCode", 0))
    name = builtin.get(number, str(number))
    custom = getattr(code, "customCode", None)
    return custom.decode() if name == "CUSTOM" and custom else name


def float_compute(artifact: bytes, names: tuple[str, ...] = COMPUTE) -> tuple[int, int]:
    """(operators of these names that compute in float, all operators of these names)."""
    concerned = [operator for operator in operators(artifact) if operator.name in names]
    return sum(operator.in_float for operator in concerned), len(concerned)
