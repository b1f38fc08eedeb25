"""Define what one operator of a mixed artifact may get: the settings that litert-quantizer offers for one operator.

A recipe of that tool is a list of rules by regular expression; here each operator has a rule of its own, by the name of
its outputs, and what has no rule stays in float.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quantbench.core.renamed import quantizer as tool
from quantbench.records import IN_FLOAT
from quantbench.tflite.graph import FLOATS, WEIGHTS, Operator, Tensor
from quantbench.variants import aeq

Arithmetic = Literal["float", "hybrid", "integer"]
# The tool's name of a builtin, where it is another.
_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
_ADD = {"float": "add_weight_only_config", "hybrid": "add_dynamic_config", "integer": "add_static_config"}


@dataclass(frozen=True)
class Setting:
    """Specify what an operator gets.

    Attributes:
        words: what that is.
        arithmetic: ``hybrid`` computes on int8 activations whose range is found in each call.
        bits: of the weights.
        activation_bits: of integer arithmetic; 0 elsewhere.
        granularity: of the weights' scales, as the tool names it.
        algorithm: which finds the weights' range, as the tool names it.
    """

    words: str
    arithmetic: Arithmetic
    bits: int
    activation_bits: int = 0
    granularity: str = "CHANNELWISE"
    algorithm: str = aeq.MINMAX

    @property
    def of_weights(self) -> bool:
        """Return whether it is for operators with weights alone."""
        return self.arithmetic != "integer" or self.bits < 8

    @property
    def block(self) -> int:
        """Return how many weights of a row share a scale; 0 where that is no number."""
        kind, _, size = self.granularity.partition("_")
        return int(size) if kind == "BLOCKWISE" else 0

    def options(self) -> dict[str, Any]:
        """Return the arguments of the tool's method, beside the algorithm and the operator."""
        granularity = tool("qtyping").QuantGranularity[self.granularity]
        if self.arithmetic == "integer":
            bits = {"activation_num_bits": self.activation_bits, "weight_num_bits": self.bits}
            return {**bits, "weight_granularity": granularity}
        return {"num_bits": self.bits, "granularity": granularity}


OCTAV = "OCTAV"
BLOCKS = (32, 64, 128)  # weights of a row that share a scale; larger blocks are rarely divisors of a row


def _int4_in_blocks(block: int) -> Setting:
    words = f"int4 weights in blocks of {block}"
    return Setting(words, "hybrid", 4, granularity=f"BLOCKWISE_{block}", algorithm=OCTAV)


# Of int4 and int2 those that are clipped for least squared error (OCTAV): one scale serves small and large weights.
SETTINGS = {
    "dynamic_wi2": Setting("int2 weights", "hybrid", 2, algorithm=OCTAV),
    "dynamic_wi4_tensor": Setting("int4 weights, one scale", "hybrid", 4, granularity="TENSORWISE", algorithm=OCTAV),
    **{f"dynamic_wi4_b{block}": _int4_in_blocks(block) for block in BLOCKS},
    "dynamic_wi4": Setting("int4 weights", "hybrid", 4, algorithm=OCTAV),
    "weight_only_wi4": Setting("int4 weights, float arithmetic", "float", 4, algorithm=OCTAV),
    "dynamic_wi8_tensor": Setting("int8 weights, one scale", "hybrid", 8, granularity="TENSORWISE"),
    "dynamic_wi8": Setting("int8 weights", "hybrid", 8),
    "weight_only_wi8": Setting("int8 weights, float arithmetic", "float", 8),
    "float16": Setting("float16 weights", "float", 16, algorithm="FLOAT_CASTING"),
    "static_wi4_ai8": Setting("int4 weights, int8 activations", "integer", 4, 8),
    "static_wi8_ai8": Setting("int8 weights and activations", "integer", 8, 8),
    "static_wi8_ai16": Setting("int8 weights, int16 activations", "integer", 8, 16),
}


def is_static(name: str) -> bool:
    """Check whether a setting needs ranges of activations from calibration."""
    return name != IN_FLOAT and SETTINGS[name].arithmetic == "integer"


def weights_of(operator: Operator) -> Tensor | None:
    """Return the float weights of an operator: a constant of at least two dimensions; None where it has none."""
    places = (*WEIGHTS.get(operator.name, ()), *((1,) if operator.name == "EMBEDDING_LOOKUP" else ()))
    held = [operator.inputs[place] for place in places if place < len(operator.inputs)]
    constants = [one for one in held if one is not None and one.data and one.dtype in FLOATS]
    return next((one for one in constants if len(one.shape) > 1), None)


def offered(operator: Operator, names: Sequence[str]) -> list[str]:
    """Return those settings that the tool takes for an operator."""
    return [name for name in names if _suits(SETTINGS[name], operator)]


def _suits(setting: Setting, operator: Operator) -> bool:
    weights = weights_of(operator)
    if setting.of_weights and weights is None:
        return False
    if weights is not None and setting.block and weights.shape[-1] % setting.block:
        return False
    try:
        _add(_manager(), operator, setting)
    except (ValueError, KeyError):  # the tool's policy, or an operator that it does not know
        return False
    return True


def rules(operators: Sequence[Operator], chosen: Mapping[int, str]) -> Any:
    """Return the tool's recipe manager with a rule for each chosen operator.

    Args:
        operators: of the float model's main graph.
        chosen: position -> name of a setting.

    Raises:
        ValueError: the tool does not take a setting for its operator.
    """
    manager = _manager()
    for position in sorted(chosen):
        _add(manager, operators[position], SETTINGS[chosen[position]])
    return manager


def everything_static(operators: Sequence[Operator], names: Sequence[str]) -> Any:
    """Return a recipe by which calibration looks at every operator that any static setting may be given to."""
    static = [name for name in names if is_static(name)]
    found = {place: offered(operator, static) for place, operator in enumerate(operators)}
    return rules(operators, {place: suits[0] for place, suits in found.items() if suits})


def _manager() -> Any:
    return tool("recipe_manager").RecipeManager()


def _add(manager: Any, operator: Operator, setting: Setting) -> None:
    name = tool("qtyping").TFLOperationName[_NAMES.get(operator.name, operator.name)]
    key = tool("algorithm_manager").AlgorithmName[setting.algorithm]
    getattr(manager, _ADD[setting.arithmetic])(aeq.only(operator), name, algorithm_key=key, **setting.options())
