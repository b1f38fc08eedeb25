"""Describe what was measured of accepted artifacts beside their answers, for runs with equal inputs."""

from typing import Any, Literal

from pydantic import Field

from quantbench.records._common import SCHEMA_VERSION, Record


class MeasuredAlike(Record):
    """Measurements of one kind that all were made in one way, on one machine.

    Attributes:
        what: the kind: memory, instructions, micro or other kernels.
        recipe: everything that affects them besides the artifact: model, data, code, packages, system and processor.
        results: hash of the artifact -> name of each file of its measurement -> key of its content.
    """

    what: str
    recipe: dict[str, Any]
    results: dict[str, dict[str, str]]


class MeasuredFile(Record):
    """``baselines/<model>.xz``, compressed.

    Attributes:
        contents: key (of their sha256, as hexadecimal digits) -> content in base64.
    """

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.measured"] = "quantbench.measured"
    model: str
    measured: list[MeasuredAlike] = Field(default_factory=list)
    contents: dict[str, str] = Field(default_factory=dict)
