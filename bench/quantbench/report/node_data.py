"""Write errors of operators as node data of Model Explorer, which colours the graph of the artifact with them.

Source: ai-edge-model-explorer 0.1.34, ``node_data_builder.py``: subgraph -> results by node. For ``.tflite`` its
adapter numbers nodes by the operators' positions in the file, and finds other nodes by the names of their tensors.
"""

import json
from typing import Any

from quantbench.records import Attribution, OperatorError

WHAT = "own error, %"
_LIGHT, _DARK, _SUSPECT = "#e8f1fb", "#f2a16c", "#b3141d"  # the smallest and the largest error, and what was repaired


def node_data(found: Attribution) -> dict[str, Any]:
    """Return the errors of their own, in per cent, of the operators that can run alone; suspects have a colour."""
    suspects = {at for one in found.suspects[:1] for at in (one.position, *one.together)}
    results = {_key(one): _result(one, one.position in suspects) for one in found.operators if one.own is not None}
    gradient = [{"stop": 0, "bgColor": _LIGHT}, {"stop": 1, "bgColor": _DARK}]
    return {found.graph or "main": {"name": WHAT, "results": results, "gradient": gradient}}


def text(found: Attribution) -> str:
    """Return the same as the text of a file."""
    return json.dumps(node_data(found), indent=1) + "\n"


def _key(one: OperatorError) -> str:
    return str(one.position) if one.position >= 0 else one.tensor


def _result(one: OperatorError, suspected: bool) -> dict[str, Any]:
    value = float(f"{100 * (one.own or 0.0):.4g}")
    return {"value": value, **({"bgColor": _SUSPECT, "textColor": "#ffffff"} if suspected else {})}
