"""quantbench: a benchmark and regression gate for TensorFlow model quantization."""

__version__ = "0.1.0"
