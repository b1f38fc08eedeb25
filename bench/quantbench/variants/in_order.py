"""Watch the order of a layer's inputs while tfmot transforms a model, which it may change without a word.

tfmot gives a Concatenate layer its inputs in the order in which its own list of layers has them, and it moves layers
that it fuses (convolution, batch norm, ReLU) to the end of that list. What reads the joined tensor then finds one
input's values in the places of another's.

Source: tensorflow/model-optimization, issues 1061 and 1179, open as of tfmot 0.8.1.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from quantbench.errors import Unsupported

# Called with what tfmot matched, what it puts in its place, and the names of its inputs: as meant, and as given.
Handle = Callable[[Any, Any, Sequence[str], Sequence[str]], None]


@contextmanager
def kept() -> Iterator[None]:
    """Let each layer that tfmot replaces have its inputs in the model's own order."""

    def restore(match: Any, replacement: Any, meant: Sequence[str], given: Sequence[str]) -> None:
        for node in (match, replacement):
            by_name = dict(zip(given, node.input_layers, strict=True))
            node.input_layers = [by_name[name] for name in meant]

    with _on_another_order(restore):
        yield


@contextmanager
def refused(advice: str) -> Iterator[None]:
    """Raise Unsupported where tfmot would give a layer its inputs in another order.

    Args:
        advice: what to do instead.
    """

    def refuse(match: Any, _replacement: Any, meant: Sequence[str], given: Sequence[str]) -> None:
        raise Unsupported(
            f"tfmot gives the layer {match.layer['config']['name']} ({match.layer['class_name']}) its inputs in "
            f"another order, so that it trains another network: {advice} (tfmot's issue 1179; here "
            f"{', '.join(given)} instead of {', '.join(meant)})"
        )

    with _on_another_order(refuse):
        yield


@contextmanager
def _on_another_order(handle: Handle) -> Iterator[None]:
    """Call ``handle`` before tfmot replaces a layer whose inputs it has in another order than the model."""
    from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import model_transformer

    transformer = model_transformer.ModelTransformer
    replace = transformer._replace_functional

    def watched(self: Any, match: Any, replacement: Any) -> None:
        given = [node.layer["config"]["name"] for node in match.input_layers]
        if len(given) > 1:
            meant = _inputs(match.layer, given)
            if meant != given:
                handle(match, replacement, meant, given)
        replace(self, match, replacement)

    transformer._replace_functional = watched
    try:
        yield
    finally:
        transformer._replace_functional = replace


def _inputs(layer: Any, given: Sequence[str]) -> list[str]:
    """Return the names of a layer's inputs in the model's order.

    Raises:
        Unsupported: they are not the first output of each given layer, once: tfmot connects those alone.
    """
    connections = layer["inbound_nodes"][0]
    names = [connection[0] for connection in connections]
    if sorted(names) != sorted(given) or any(connection[1:3] != [0, 0] for connection in connections):
        raise Unsupported(
            f"tfmot gives the layer {layer['config']['name']} ({layer['class_name']}) only the first output of each of "
            f"{', '.join(given)}, once, so that it trains another network: quantize after training"
        )
    return names
