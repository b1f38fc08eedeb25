"""Measuring: artifact + data -> measurements. Nothing here judges."""
