"""Which layers a mixed-precision variant may leave in float."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from quantbench.errors import Unsupported
from quantbench.variants import mixed
from quantbench.variants.mixed import Layer

ONE = [Layer("dense", "FULLY_CONNECTED", 1.0)]


def made(monkeypatch: pytest.MonkeyPatch, layers: Sequence[Layer], chosen: Sequence[Layer]) -> bytes:
    """Make the artifact with these layers in float, by a debugger that writes down what it is told."""
    debugger = SimpleNamespace(options=None)
    debugger.get_nondebug_quantized_model = lambda: str(debugger.options).encode()
    monkeypatch.setattr(mixed, "_debugger", lambda _bench: debugger)
    monkeypatch.setattr(mixed, "_layers", lambda _debugger: layers)
    options = SimpleNamespace(QuantizationDebugOptions=lambda denylisted_nodes: denylisted_nodes)
    bench: Any = SimpleNamespace(tensorflow=lambda: SimpleNamespace(lite=SimpleNamespace(experimental=options)))
    return mixed._without(lambda _layers: list(chosen), bench)


def test_a_model_of_one_layer_is_made_where_that_stays_quantized(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(monkeypatch, ONE, []) == b"[]"
    assert made(monkeypatch, [*ONE, Layer("conv", "CONV_2D", 2.0)], ONE) == b"['dense']"


def test_a_model_whose_layers_would_all_be_in_float_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match="quantizes one compute layer of the model, which would be left in float"):
        made(monkeypatch, ONE, ONE)
    with pytest.raises(Unsupported, match="has 2 compute layers, and all of them would be left in float"):
        made(monkeypatch, ONE * 2, ONE * 2)
