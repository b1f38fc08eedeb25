"""What every room stands on: environment, options, statistics, processes, signals; it knows nothing of models."""
