"""Compute cells in worker processes of this machine, or on a Dask cluster.

Tasks come in; an outcome for each goes out, including when the worker crashes or exceeds its time limit.
"""
