"""The plain typed records that pass between the rooms, and their JSON Schema. Imports nothing of ours but errors.

What an artifact holds, where it ran, what a run's report, a baseline and a selftest say, and how all of it is read from
and written to JSON files.
"""

from quantbench.records._artifact import Amount, Census, Compute, Contents, Port, Range
from quantbench.records._baseline import (
    Accepted,
    BaselineCell,
    BaselineFile,
    BaselineValue,
    First,
    Loosened,
    Overlay,
    Xfail,
)
from quantbench.records._common import (
    DISTURBED,
    NAME,
    SCHEMA_VERSION,
    SEVERAL_AT_WORK,
    Kind,
    Measurement,
    Record,
    Verdict,
    worst,
)
from quantbench.records._environment import Device, Environment, Load
from quantbench.records._files import json_text, problems, read_record, schema, write_json
from quantbench.records._report import (
    Action,
    Cell,
    Drift,
    Evidence,
    Failure,
    FalseAlarms,
    Judgement,
    LeftToCpu,
    Part,
    Report,
    Shard,
)
from quantbench.records._selftest import FlipRate, LatencyNull, LatencyPlant, LatencySelftest, Planted, Selftest, Sight

__all__ = [
    "DISTURBED",
    "NAME",
    "SCHEMA_VERSION",
    "SEVERAL_AT_WORK",
    "Accepted",
    "Action",
    "Amount",
    "BaselineCell",
    "BaselineFile",
    "BaselineValue",
    "Cell",
    "Census",
    "Compute",
    "Contents",
    "Device",
    "Drift",
    "Environment",
    "Evidence",
    "Failure",
    "FalseAlarms",
    "First",
    "FlipRate",
    "Judgement",
    "Kind",
    "LatencyNull",
    "LatencyPlant",
    "LatencySelftest",
    "LeftToCpu",
    "Load",
    "Loosened",
    "Measurement",
    "Overlay",
    "Part",
    "Planted",
    "Port",
    "Range",
    "Record",
    "Report",
    "Selftest",
    "Shard",
    "Sight",
    "Verdict",
    "Xfail",
    "json_text",
    "problems",
    "read_record",
    "schema",
    "worst",
    "write_json",
]
