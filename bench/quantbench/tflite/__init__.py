"""Read, edit and run a ``.tflite`` file.

An artifact comes in; its graph, a changed copy, or its outputs go out.
"""
