"""The pre-release check: every cell built and run with two sets of packages, and the two compared.

Each set gets a throw-away environment (:mod:`quantbench.ab.environments`); each environment makes an ordinary run
(:mod:`quantbench.ab.runs`); artifacts that differ are timed in turns by both runtimes
(:mod:`quantbench.ab.interleaved`); what changed is run by the other side's runtime too, so that the converter and the
runtime can be told apart (:mod:`quantbench.ab.mixed`).
"""
