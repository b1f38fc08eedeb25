"""A saved model of the user's own: tried once, or adopted for good.

A model file and ``.npz`` data come in; a reference model, a table of variants and one recommendation go out.
"""
