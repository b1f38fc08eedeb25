"""Describe a next step."""

from pydantic import Field

from quantbench.records._common import Record


class Action(Record):
    """A next step.

    Attributes:
        what: the step in words.
        command: its words, one argument each; empty where no command does it.
    """

    what: str
    command: list[str] = Field(default_factory=list)
