"""Where cells are computed: worker processes of this machine, or a Dask cluster.

Tasks come in; an outcome for each goes out, also where the worker crashed or ran out of time.
"""
