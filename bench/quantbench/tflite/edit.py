"""A ``.tflite`` unpacked into objects, changed, and packed again, by LiteRT's own tools."""

from collections.abc import Callable
from typing import Any

import numpy as np


def unpacked(artifact: bytes) -> Any:
    """Return the objects of a file, with the constants that lie behind the flatbuffer brought into it.

    litert-quantizer writes constants there. LiteRT's tools would keep their old places, which packing moves.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(artifact)
    for buffer in model.buffers or []:
        if buffer.offset > 1:  # 0 and 1 stand for none
            buffer.data = np.frombuffer(artifact, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def edited(artifact: bytes, change: Callable[[Any], None]) -> bytes:
    """The artifact with its flatbuffer's objects changed; aligned anew, so compare with an artifact packed likewise."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = unpacked(artifact)
    change(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def repacked(artifact: bytes) -> bytes:
    """The same artifact, packed as an edited one is."""
    return edited(artifact, lambda _: None)


def without_stamp(artifact: bytes) -> bytes:
    """The artifact without what its maker says of itself: description, and metadata such as the converter's version.

    No runtime computes with those, so two artifacts that are equal without them give the same answers.
    """

    def remove(model: Any) -> None:
        for metadata in model.metadata or []:
            model.buffers[metadata.buffer].data = None
        model.metadata, model.metadataBuffer, model.description = None, None, None

    return edited(artifact, remove)
