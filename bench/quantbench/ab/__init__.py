"""Compare two sets of packages before a release: build and run every cell with both.

Each set gets a temporary environment (:mod:`quantbench.ab.environments`), and each environment makes an ordinary run
(:mod:`quantbench.ab.runs`). Artifacts that differ are timed on both runtimes, interleaved
(:mod:`quantbench.measure.interleaved`). Changed cells also run on the other side's runtime, to separate the effects of
the converter and of the runtime (:mod:`quantbench.ab.mixed`).
"""
