"""Where an artifact runs. A runtime loads an artifact, runs a batch of examples, and closes."""
