"""Declare and load reference models: model files, data, metrics, training, and the float model in any form.

A model file comes in; a :class:`~quantbench.reference.model.ReferenceModel` with checked data and weights goes out.
"""
