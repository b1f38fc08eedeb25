"""The site of nights: a history in, static pages out, which work from a disk and ask nothing of the network.

:mod:`~quantbench.report.site.facts` works out what the pages say, :mod:`~quantbench.report.site.pages` writes them.
"""
