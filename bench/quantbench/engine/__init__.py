"""Run the matrix, or one shard of it: plan, compute, judge, report and merge.

Options and a selection of cells come in; a run folder and an exit status go out.
"""
