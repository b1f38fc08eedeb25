"""Prune and cluster weights, and quantize after or during that training: tfmot's collaborative optimization.

Both produce int8 kernels that compress better: half of the values zero, or few distinct values. Only the kernels of
convolutions and dense layers of exactly these classes are compressed: tfmot excludes depthwise kernels as too
sensitive, and does not know other classes.

Sources: Zhu & Gupta, "To prune, or not to prune", 2017 (arXiv:1710.01878), for magnitude pruning with a polynomial
schedule; Han et al., "Deep Compression", ICLR 2016 (arXiv:1510.00149), for shared weights whose centroids are trained;
tfmot's guides "Pruning comprehensive guide", "Weight clustering comprehensive guide" and "Collaborative optimization"
with its examples of PQAT, CQAT and PCQAT.
"""

from collections.abc import Callable
from typing import Any, Literal

from quantbench.errors import Unsupported
from quantbench.variants import channelwise, convert, fold, ptq, qat
from quantbench.variants.declare import FINETUNED_CONTROL, QuantizationSpec, Taxonomy, Variant, Workbench

SPARSITY = 0.5
CENTROIDS = 16  # of the variants that combine clustering with other training
PRUNINGS = 20  # pruning steps in the first half of the schedule
PACKAGES = qat.PACKAGES


def _with_wrapped_kernels(bench: Workbench, keras_model: Any, wrap: Callable[[Any], Any]) -> Any:
    """Wrap the convolutions and dense layers of the model; all layers are shared with ``keras_model``."""
    keras = bench.tensorflow().keras
    # Exactly these classes: for isinstance, a depthwise or transposed convolution is a Conv2D.
    compressible = (keras.layers.Conv2D, keras.layers.Dense)
    return keras.models.clone_model(
        keras_model, clone_function=lambda layer: wrap(layer) if type(layer) in compressible else layer
    )


def pruned(bench: Workbench) -> Any:
    """Stage: prune half of every kernel by magnitude over the first half of a fine-tuning."""
    bench.tensorflow()
    import tensorflow_model_optimization as tfmot

    sparsity = tfmot.sparsity.keras
    half = max(1, bench.finetune_steps() // 2)
    every = max(1, half // PRUNINGS)
    # The end is a multiple of the frequency; otherwise the last pruning misses the specified sparsity.
    end = every * min(PRUNINGS, half)
    schedule = sparsity.PolynomialDecay(0.0, SPARSITY, begin_step=0, end_step=end, frequency=every)

    def wrap(layer: Any) -> Any:
        return sparsity.prune_low_magnitude(layer, pruning_schedule=schedule)

    keras_model = bench.float_model()
    wrapped = qat.attempt("pruning", lambda: _with_wrapped_kernels(bench, keras_model, wrap))
    bench.finetune(wrapped, [sparsity.UpdatePruningStep()])
    return sparsity.strip_pruning(wrapped)


def _cluster(bench: Workbench, keras_model: Any, centroids: int, keep_zeros: bool) -> Any:
    """Cluster every kernel of ``keras_model`` to ``centroids`` trained values, and fine-tune it."""
    bench.tensorflow()
    import tensorflow_model_optimization as tfmot
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

    start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS

    def wrap(layer: Any) -> Any:
        if layer.kernel.shape.num_elements() < centroids:  # it has so few values already; tfmot fails at dense layers
            return layer
        return cluster.cluster_weights(layer, centroids, start, preserve_sparsity=keep_zeros)

    wrapped = qat.attempt("clustering", lambda: _with_wrapped_kernels(bench, keras_model, wrap))
    bench.finetune(wrapped)
    return tfmot.clustering.keras.strip_clustering(wrapped)


def clustered(centroids: int) -> Callable[[Workbench], Any]:
    """Stage: cluster every kernel."""

    def stage(bench: Workbench) -> Any:
        return _cluster(bench, bench.float_model(), centroids, keep_zeros=False)

    return stage


def pruned_clustered(bench: Workbench) -> Any:
    """Stage: cluster every kernel after pruning, with zero as one of its values."""
    return _cluster(bench, bench.stage(pruned), CENTROIDS, keep_zeros=True)


def _float(bench: Workbench, keras_model: Any) -> bytes:
    return bytes(convert.converter(bench, bench.export(keras_model)).convert())


def _static(bench: Workbench, keras_model: Any) -> bytes:
    return bytes(convert.calibrated(bench, bench.export(keras_model)).convert())


def _pruned_float(bench: Workbench) -> bytes:
    return _float(bench, bench.stage(pruned))


def _pruned_static(bench: Workbench) -> bytes:
    return _static(bench, bench.stage(pruned))


def _clustered_float(centroids: int) -> Callable[[Workbench], bytes]:
    def make(bench: Workbench) -> bytes:
        return _float(bench, bench.stage(clustered(centroids)))

    return make


def _clustered_static(centroids: int) -> Callable[[Workbench], bytes]:
    def make(bench: Workbench) -> bytes:
        return _static(bench, bench.stage(clustered(centroids)))

    return make


def _prune_preserving(bench: Workbench) -> bytes:
    bench.tensorflow()
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
        default_8bit_prune_preserve_quantize_scheme,
        prune_preserve_quantize_registry,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_registry

    class SparseKernel(default_8bit_quantize_registry.Default8BitQuantizeConfig):  # type: ignore[misc]
        def __init__(self, *attributes: Any, **named: Any) -> None:
            super().__init__(*attributes, **named)
            self.weight_quantizer = prune_preserve_quantize_registry.PrunePreserveDefault8BitWeightsQuantizer()

    scheme = default_8bit_prune_preserve_quantize_scheme.Default8BitPrunePreserveQuantizeScheme()
    folded = fold.folded(bench, bench.stage(pruned), ("Dense",))
    quantized = qat.quantize_folded(bench, folded, scheme, SparseKernel(["kernel"], [], False), {})
    return qat.train_and_convert(bench, quantized)


def _cluster_preserving(bench: Workbench) -> bytes:
    scheme = _accepted_scheme(bench, keep_zeros=False)
    return _preserving(bench, bench.stage(clustered(CENTROIDS)), scheme)


def _prune_cluster_preserving(bench: Workbench) -> bytes:
    scheme = _accepted_scheme(bench, keep_zeros=True)
    return _preserving(bench, bench.stage(pruned_clustered), scheme)


def _unpenalized(bench: Workbench, keras_model: Any) -> Any:
    """Copy the model without penalties on kernels.

    tfmot trains centroids and writes the kernel from them before each step; a penalty's gradient moves the kernel again
    after the last step, away from the centroids (resnet8: 18 values along a channel instead of 16).
    """

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config(
            config | {"kernel_regularizer": None} if "kernel_regularizer" in config else config
        )

    copy = bench.tensorflow().keras.models.clone_model(keras_model, clone_function=clone)
    copy.set_weights(keras_model.get_weights())
    return copy


def _preserving(bench: Workbench, keras_model: Any, scheme: Any) -> bytes:
    with channelwise.at_once(bench.tensorflow()):
        return qat.train_and_convert(bench, qat.fake_quantized(_unpenalized(bench, keras_model), scheme))


def _accepted_scheme(bench: Workbench, keep_zeros: bool) -> Any:
    """Return a cluster-preserving QAT scheme for this model.

    Raises:
        Unsupported: a batch norm follows a dense layer, or tfmot refuses; raised before any training.
    """
    bench.tensorflow()
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
        default_8bit_cluster_preserve_quantize_scheme as schemes,
    )

    if fold.folded(bench, bench.float_model(), ("Dense",)).merged:
        raise Unsupported(
            "tfmot leaves a dense layer before a batch norm in float, and a norm folded in gives every column values "
            "of its own, where cluster-preserving QAT keeps one set a dense kernel"
        )
    scheme = schemes.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=keep_zeros)
    with channelwise.at_once(bench.tensorflow()):
        qat.fake_quantized(bench.float_model(), scheme)
    return scheme


CODEBOOK = "float32, {0} shared values a kernel (non-uniform codebook; {0} a channel where a batch norm is folded in)"
CODED = "{} shared values a channel (non-uniform), in {}"
SPARSE = "half of the values zero"
FLOAT = "float32"
KMEANS = "k-means++ centroids, then trained"


def _clustering_variants(centroids: int) -> list[Variant]:
    name = f"clustered{centroids}"
    gate: Literal["small", "nightly"] = "small" if centroids == CENTROIDS else "nightly"
    return [
        Variant(
            f"{name}_float32",
            f"every kernel's values drawn from {centroids} trained ones, kept in float: what clustering alone costs",
            "control",
            "tfmot",
            _clustered_float(centroids),
            Taxonomy(CODEBOOK.format(centroids), FLOAT, KMEANS),
            QuantizationSpec(weights="float32", computes="float", distinct=centroids),
            control=FINETUNED_CONTROL,
            trained=True,
            packages=PACKAGES,
            gate=gate,
        ),
        Variant(
            f"{name}_static_wi8_ai8",
            f"PTQ of the model with {centroids} values a kernel",
            "ptq",
            "tfmot and TFLite converter",
            _clustered_static(centroids),
            Taxonomy(
                CODED.format(centroids, ptq.W_INT8), ptq.A_INT8, f"weights {KMEANS}; activations {ptq.CALIBRATED}"
            ),
            # int8 with one scale has 255 values, so that 256 centroids restrict nothing.
            QuantizationSpec(
                weights="int8", computes="integer", granularity="per-channel", distinct=min(centroids, 255)
            ),
            control=f"{name}_float32",
            trained=True,
            packages=PACKAGES,
            gate=gate,
        ),
    ]


VARIANTS = [
    Variant(
        "pruned_float32",
        "half of every kernel set to zero while fine-tuning, kept in float: what pruning alone costs",
        "control",
        "tfmot",
        _pruned_float,
        Taxonomy(f"float32, {SPARSE}", FLOAT, "none"),
        QuantizationSpec(weights="float32", computes="float", sparsity=SPARSITY),
        control=FINETUNED_CONTROL,
        trained=True,
        packages=PACKAGES,
    ),
    Variant(
        "pruned_static_wi8_ai8",
        "PTQ of the pruned model",
        "ptq",
        "tfmot and TFLite converter",
        _pruned_static,
        Taxonomy(f"{ptq.W_INT8}, {SPARSE}", ptq.A_INT8, ptq.CALIBRATED),
        QuantizationSpec(weights="int8", computes="integer", granularity="per-channel", sparsity=SPARSITY),
        control="pruned_float32",
        trained=True,
        packages=PACKAGES,
    ),
    *(variant for centroids in (16, 32, 256) for variant in _clustering_variants(centroids)),
    Variant(
        "pqat_wi8_ai8",
        "QAT of the pruned model that keeps its zeros",
        "qat",
        "tfmot",
        _prune_preserving,
        Taxonomy(f"{qat.W_INT8}, {SPARSE}", qat.A_INT8, qat.OBSERVED),
        QuantizationSpec(weights="int8", computes="integer", sparsity=SPARSITY),
        control="float32_finetuned_2x",
        trained=True,
        packages=PACKAGES,
    ),
    Variant(
        "cqat_wi8_ai8",
        f"QAT of the model with {CENTROIDS} values a kernel that keeps their number",
        "qat",
        "tfmot",
        _cluster_preserving,
        Taxonomy(CODED.format(CENTROIDS, qat.W_INT8), qat.A_INT8, qat.OBSERVED),
        QuantizationSpec(weights="int8", computes="integer", distinct=CENTROIDS),
        control="float32_finetuned_2x",
        trained=True,
        packages=PACKAGES,
    ),
    Variant(
        "pcqat_wi8_ai8",
        f"QAT of the pruned model with {CENTROIDS} values a kernel that keeps its zeros and the number of values",
        "qat",
        "tfmot",
        _prune_cluster_preserving,
        Taxonomy(f"{CODED.format(CENTROIDS, qat.W_INT8)}, {SPARSE}", qat.A_INT8, qat.OBSERVED),
        QuantizationSpec(weights="int8", computes="integer", sparsity=SPARSITY, distinct=CENTROIDS),
        control="float32_finetuned_3x",
        trained=True,
        packages=PACKAGES,
    ),
]
