"""Run artifacts elsewhere: behind ssh, under an emulator, or in any Python that a command starts.

What comes in: a declared target (:mod:`quantbench.core.targets`), artifacts, the examples of a model. What goes out:
answers, times and memory there, through the store.
Nothing here judges.
"""
