"""Try a saved model of the user once, or adopt it permanently.

A model file and examples come in; a reference model, a table of variants and one recommendation go out.
"""
