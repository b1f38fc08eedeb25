"""Say what to install where a package is missing, as in a container that only reads reports."""

# Import name -> what to install. Others are not ours to speak of: a bug in them is shown as it is.
PACKAGES = {
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "h5py": "h5py",
    "keras": "keras",
    "litert_quantizer": "litert-quantizer",
    "pebble": "pebble",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark",
    "tensorflow": "tensorflow",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
    "tf_keras": "tf-keras",
}


def sentence(error: ModuleNotFoundError) -> str | None:
    """Return what to install; None where the missing module is not one of a package that may be left out."""
    package = PACKAGES.get((error.name or "").partition(".")[0])
    if package is None:
        return None
    return (
        f"{package} is not installed here, and this command needs it; install quantbench with all that it requires "
        "(pip install quantbench), or use another environment to build and measure"
    )
