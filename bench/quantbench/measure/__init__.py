"""Measure artifacts on data; nothing in this room judges."""
