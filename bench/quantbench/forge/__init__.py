"""Tell a forge (GitHub, GitLab) what a run found: one comment on a pull request, one issue for the nightly run.

A text and whether it is red come in; one comment or issue is created, edited or closed (:mod:`quantbench.forge.post`).
What to do is decided by pure functions (:mod:`quantbench.forge.decide`). Only the standard library is imported, so that
``python -m quantbench.forge`` runs in a job that may write and has installed nothing.
"""
