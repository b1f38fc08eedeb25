"""One run, or one shard of it: plan, compute, judge, report, merge.

Options and a selection come in; a run folder and an exit status go out.
"""
