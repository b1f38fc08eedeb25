"""The pre-release check: every cell built and run with two sets of packages, and the two compared.

Each set gets a throw-away environment (:mod:`bench.ab.environments`); each environment makes an ordinary run
(:mod:`bench.ab.runs`); artifacts that differ are timed in turns by both runtimes (:mod:`bench.ab.turns`); what changed
is run by the other side's runtime too, so that the converter and the runtime can be told apart (:mod:`bench.ab.cross`).
"""
