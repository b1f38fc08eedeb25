"""Reference models: what a model file declares, its data, metric and training, and its float model in any form.

A model file comes in; a :class:`~quantbench.reference.model.ReferenceModel` with checked data and weights goes out.
"""
