"""Write JSON that git merges and people review: sorted keys, one key per line, nine significant digits."""

import json
import math
from typing import Any

# Made once: json.dumps would make one for each value.
_ENCODED = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False).encode


class Line(str):
    """JSON that is written already, on one line."""

    __slots__ = ()


def json_text(value: Any, depth: int = 0) -> str:
    """Return JSON with sorted keys, one key per line, and one line per item of a list: short, and easy to merge."""
    if isinstance(value, Line):
        return value
    if isinstance(value, dict) and value:
        return object_text({key: value[key] for key in sorted(value)}, depth)
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        inner = " " * (depth + 1)
        lines = [inner + (flat(item) if _is_flat(item) else json_text(item, depth + 1)) for item in value]
        return "[\n" + ",\n".join(lines) + "\n" + " " * depth + "]"
    return flat(value)


def object_text(value: dict[str, Any], depth: int = 0) -> str:
    """Return an object in its own order of keys, one key per line; what is inside has sorted ones."""
    inner = " " * (depth + 1)
    lines = [f"{inner}{flat(key)}: {json_text(item, depth + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"


def flat(value: Any) -> str:
    """Return JSON on one line."""
    if (type(value) is float and math.isfinite(value)) or type(value) is int:  # the encoder takes ten times as long
        return repr(value)
    return _ENCODED(value)


def _is_flat(item: Any) -> bool:
    return not isinstance(item, dict) or not any(isinstance(value, dict) for value in item.values())


def rounded(value: Any) -> Any:
    """Return the same with every float at nine significant digits, as files keep them."""
    if isinstance(value, float):
        return value if value == 0 or not math.isfinite(value) else float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: item if type(item) in _WHOLE else rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [item if type(item) in _WHOLE else rounded(item) for item in value]
    return value


# Most of what files hold: looking at the type here takes half as long as asking :func:`rounded`.
_WHOLE = frozenset((int, str, bool, type(None)))
