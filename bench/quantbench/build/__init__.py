"""Make the artifact of a model and a variant, through a content-addressed store.

A reference model and a variant come in; the path of a ``.tflite`` file, or the tools' refusal, goes out.
"""
