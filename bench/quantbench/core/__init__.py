"""Provide what every room builds on: environment, options, statistics, processes and signals; knows no models."""
