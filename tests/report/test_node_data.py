"""Node data for Model Explorer: its own reader takes it, and its adapter gives operators the numbers that it uses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_graphs import layers
from quantbench.records import Attribution, OperatorError, Suspect
from quantbench.report.node_data import WHAT, node_data, text
from quantbench.tflite import graph


def found(name: str = "main") -> Attribution:
    facts = {"error": 0.3, "cosine": 0.99}
    operators = [
        OperatorError(position=-1, operator="INPUT", tensor="serving_default_x:0", own=0.004, **facts),
        OperatorError(position=0, operator="FULLY_CONNECTED", tensor="a", own=0.0123456, **facts),
        OperatorError(position=1, operator="WHILE", tensor="b", own=None, **facts),
        OperatorError(position=2, operator="FULLY_CONNECTED", tensor="c", own=0.25, **facts),
    ]
    suspect = Suspect(position=2, operator="FULLY_CONNECTED", tensor="c", repaired_by="float", recovered=0.9)
    return Attribution(graph=name, examples=8, matched=1.0, operators=operators, suspects=[suspect])


def test_operators_are_named_by_their_position_and_those_without_a_value_are_left_out() -> None:
    told = node_data(found("serving_default"))["serving_default"]
    assert told["name"] == WHAT
    assert told["results"]["0"] == {"value": 1.235}
    assert {*told["results"]} == {"serving_default_x:0", "0", "2"}
    assert told["results"]["2"] == {"value": 25.0, "bgColor": "#b3141d", "textColor": "#ffffff"}
    assert json.loads(text(found())).keys() == {"main"}


def test_the_builder_of_model_explorer_holds_the_same() -> None:
    builder = pytest.importorskip("model_explorer.node_data_builder", reason="needs ai-edge-model-explorer")
    told = node_data(found())["main"]
    results = {key: builder.NodeDataResult(**value) for key, value in told["results"].items()}
    gradient = [builder.GradientItem(**one) for one in told["gradient"]]
    whole = builder.ModelNodeData({"main": builder.GraphNodeData(results, name=told["name"], gradient=gradient)})
    read = json.loads(whole.to_json_string())["main"]
    assert told.items() <= read.items()


_READ = """
import sys
import ai_edge_model_explorer_adapter as adapter
print(adapter.ConvertFlatbufferDirectlyToJson(adapter.VisualizeConfig(), sys.argv[1]))
"""


@pytest.mark.parametrize("name", ["main", ""])
def test_the_adapter_of_model_explorer_numbers_operators_by_their_position(tmp_path: Path, name: str) -> None:
    pytest.importorskip("ai_edge_model_explorer_adapter", reason="needs ai-edge-model-explorer-adapter")
    file = tmp_path / "model.tflite"
    file.write_bytes(layers(cast_before=1, subgraph=name))
    done = subprocess.run([sys.executable, "-c", _READ, str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [shown] = json.loads(done.stdout)[0]["subgraphs"]
    structure = graph.read(file.read_bytes())
    assert shown["id"] == structure.name
    nodes = {node["id"]: node for node in shown["nodes"]}
    for position, one in enumerate(structure.operators):
        node = nodes[str(position)]
        assert node["label"] == one.name.lower()
        names = {entry["value"] for port in node["outputsMetadata"] for entry in port["attrs"]}
        assert one.label in names
