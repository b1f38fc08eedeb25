"""Translate what the tools raise, print or die of into a sentence: what, which operator or layer, what to do.

The raw text stays in the cell's log. The first pattern that is found applies; what none knows is shown as it is, on one
line. No sentence depends on the variant's numbers, so that variants that fail for one reason can be told together.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from quantbench.variants.convert import UNCALIBRATED_LOOP

RAW = 4000  # characters of a tool's text that are kept
_SHOWN = 300
_Words = Callable[[re.Match[str]], str]


@dataclass(frozen=True)
class Rule:
    """Recognize one refusal of a tool.

    Attributes:
        pattern: searched in the raw text, across lines.
        words: match -> sentence without a full stop.
    """

    pattern: re.Pattern[str]
    words: _Words


def _rule(pattern: str, words: str | _Words) -> Rule:
    """Make a rule; a text refers to the groups of the pattern by name, in braces."""
    if not isinstance(words, str):
        return Rule(re.compile(pattern, re.DOTALL), words)
    text = words
    return Rule(re.compile(pattern, re.DOTALL), lambda match: text.format(**match.groupdict()))


def _unique(names: str) -> list[str]:
    return sorted({name for name in re.split(r"[\s,]+", names) if name})


def _flex(match: re.Match[str]) -> str:
    names = _unique(match["operators"])
    needs = "; it needs Flex ops, which LiteRT's own runtime lacks" if len(names) == 1 else _THEY_NEED
    return f"TFLite has no operator for {', '.join(names)}{needs}: replace the layer that uses it"


_THEY_NEED = "; they need Flex ops, which LiteRT's own runtime lacks"
# An operator in float16 or bfloat16 is one that TFLite has, in a type that it has not.
_HALF = {"f16": "float16", "bf16": "bfloat16"}


def _half(match: re.Match[str]) -> str:
    return (
        f"the model computes in {_HALF[match['type']]}, for which TFLite has no {match['operator']}: save it with the "
        "dtype policy float32"
    )


def _unscaled_integers(match: re.Match[str]) -> str:
    return (
        f"the model multiplies plain int8 tensors, as Keras 3's int8 does, and the TFLite converter's "
        f"{match['operator'].upper()} takes int8 only with a scale: quantize its weights alone, or with another tool"
    )


def _class_name(match: re.Match[str]) -> str:
    return match["path"].rsplit(".", 1)[-1]


def _tfmot_layer(match: re.Match[str]) -> str:
    return (
        f"tfmot cannot quantize the layer {match['layer']} ({_class_name(match)}): replace it, or quantize after "
        "training"
    )


def _litert_node(match: re.Match[str]) -> str:
    done = "prepare" if match["done"] == "prepare" else "run"
    why = " ".join(match["why"].split()).rstrip(".: ")
    why = re.sub(r"^(?:\S*/)?([\w.]+\.cc):\d+ ", r"\1: ", why.removeprefix("RuntimeError: "))
    return f"LiteRT cannot {done} its operator {match['operator']} (node {match['node']}): {why}"


def _beyond_rows(match: re.Match[str]) -> str:
    layer = f" {match['layer']}" if match["layer"] else ""
    return (
        f"the examples hold {match['value']} where the embedding{layer} has {match['rows']} rows (0 to "
        f"{int(match['rows']) - 1}): prepare them with the vocabulary that the model was trained with"
    )


# A line of ours in the log of a cell whose calibration may crash: see :func:`quantbench.variants.convert.calibrated`.
_LOOP = (
    "(WHILE), which recurrent layers become, and no ranges are found for what is in it: choose a variant without "
    "static ranges, or build the layer with unroll=True"
)

RULES = [
    # --- the TFLite converter
    _rule(r"tf\.(?P<operator>\w+)\(tensor<(?:[^>]*x)?(?P<type>b?f16)>", _half),
    _rule(r"TF Select ops: (?P<operators>\w+(?:, *\w+)*)", _flex),
    _rule(r"'tf\.(?P<operators>\w+)' op is neither a custom op nor a flex op", _flex),
    _rule(
        r"Quantization (?:to 16x8-bit )?not yet supported for op: '?(?P<operator>\w+)'?",
        "the TFLite converter has no integer operator {operator} of this kind: replace the layer that uses it, or "
        "choose a variant that may leave it in float",
    ),
    _rule(re.escape(UNCALIBRATED_LOOP), f"the model has a loop {_LOOP}"),
    _rule(
        r"'tfl\.(?P<operator>\w+)' op operand #\d+ must be [^']*, but got 'tensor<(?:[^>']*x)?i8>'",
        _unscaled_integers,
    ),
    _rule(
        r"Failed to convert element type '(?P<type>f8\w+)': Unsupported type",
        "the model computes in float8 ({type}), a type that TFLite does not have: quantize it to int8",
    ),
    # --- litert-quantizer; by its former name in the sentence, which baselines hold
    _rule(
        r"Tensor data is null\. Run allocate_tensors\(\) first",
        f"ai-edge-quantizer cannot see inside a loop {_LOOP}",
    ),
    # --- tfmot, and what is trained with it
    _rule(r"Layer (?P<layer>[^:\s]+):<class '(?P<path>[\w.]+)'> is not supported", _tfmot_layer),
    _rule(
        r"Quantizing a (?:tf\.)?keras Model inside another (?:tf\.)?keras Model is not supported"
        r"|`to_annotate` can only be a `[\w.]+` instance\. You passed an instance of type: (?:Functional|Sequential)",
        "tfmot cannot quantize a model that is used as a layer of another one: rebuild it as one flat model with the "
        "same weights, or quantize after training",
    ),
    _rule(
        r"`to_(?:quantize|annotate)` can only either be a (?:tf\.)?keras Sequential or Functional model",
        "tfmot takes Sequential and functional models only: wrap a subclassed one, keras.Model(inputs, model(inputs))",
    ),
    _rule(
        r"Requested the deserialization of a Lambda layer",
        "tfmot rebuilds the model from its configuration, where Keras refuses Lambda layers: replace the Lambda, or "
        "quantize after training",
    ),
    _rule(
        r"'FakeQuant\w+' Op has type (?P<type>\w+) that does not match expected type of float32",
        "tfmot fakes the quantization of the model's input, which is {type} where it takes float32 alone: quantize the "
        "dense layers alone, or after training",
    ),
    _rule(
        r"Expected num_to_sample <= points\.rows\(\)\. (?P<clusters>\d+) vs (?P<weights>\d+)",
        "a layer has {weights} weights, too few to cluster them to {clusters} values: choose a variant without "
        "clustering",
    ),
    _rule(
        r"AttributeError: 'list' object has no attribute '(?:dtype|reshape|shape)'",
        "the model, or a layer of it, gives a list of several outputs, which this training does not take: choose a "
        "variant that quantizes after training",
    ),
    # --- TensorFlow, loading and running the float model
    _rule(
        r"Got a non-Tensor value .*? for key '(?P<output>[^']+)' in the output",
        "its output {output} is itself a dict or a list of several outputs, and TFLite has no nested outputs: save the "
        "model with one flat dict, keras.Model(model.inputs, {{NAME: output, ...}})",
    ),
    _rule(
        r"indices\[[\d,]*\] = (?P<value>-?\d+) is not in \[0, (?P<rows>\d+)\)(?:.*?node (?P<layer>[^\s}]+)/Gather)?",
        _beyond_rows,
    ),
    # --- LiteRT
    _rule(
        r"gather index out of bounds",
        "an example holds an index beyond the rows of the table, such as an embedding, that it selects from: prepare "
        "the examples with the vocabulary that the model was trained with",
    ),
    _rule(r"Select TensorFlow op\(s\), included in the given model.*?\(Flex(?P<operators>\w+)\)", _flex),
    _rule(
        r"(?:LiteRT cannot run it: )?(?P<why>[^\n]*?)\.?Node number (?P<node>\d+) \((?P<operator>\w+)\) failed to "
        r"(?P<done>prepare|invoke)",
        _litert_node,
    ),
]


def explained(raw: str) -> str | None:
    """Translate a tool's text; None where no rule knows it."""
    for rule in RULES:
        if match := rule.pattern.search(raw):
            return rule.words(match)
    return None


def reason(raw: str) -> str:
    """Return a tool's text as one sentence, or as it is, on one line and cut, where no rule knows it."""
    return explained(raw) or " ".join(raw.split())[:_SHOWN]


def kept(raw: str) -> str:
    """Cut a tool's text to what says something: of the converter's, neither call sites nor the dump of the model."""
    lines = raw.partition("note: see current operation")[0].splitlines() if _MLIR in raw else raw.splitlines()
    told = [_CALL_SITE.sub("", line) for line in lines if not line.startswith(_NOTE)]
    return "\n".join(told).strip()[:RAW]


_MLIR = "error: failed while converting"
_NOTE = "<unknown>:0: note:"
_CALL_SITE = re.compile(r"loc\((?:callsite|fused).*\)+: (?=')")


def raw_words(error: BaseException) -> str:
    """Return what a tool raised, with its type and its lines."""
    return kept(f"{type(error).__name__}: {error}")


# ---------------------------------------------------------------- crashes

# What libraries print whenever they are imported or used, and never the reason of a crash. Fatal lines (F) are kept.
_CHATTER = re.compile(
    r"""
      [IW]\d{4}\                                                                       # absl's info and warnings
    | (?:E\d{4}\ |\d{4}-\d\d-\d\d\ [\d:.]+:\ E\ ).*(?:cuda|cuInit|cuDNN|cuBLAS|cuFFT|computation_placer|stream_executor)
    | \d{4}-\d\d-\d\d\ [\d:.]+:\ [IW]\                                                # TensorFlow's older form
    | WARNING:\ | INFO:\ | To\ enable\ the\ following\ instructions
    | fully_quantize:\ | Estimated\ count\ of\ arithmetic\ ops:                      # the converter, of each conversion
    | Original\ model\ size:|Quantized\ model\ size:|Quantization\ Ratio:|Total\ time:|Running\ Calibration::
    | \S+:\d+:\ \w*Warning:\ | \ \ warnings\.warn\(                                  # Python's warnings
    """,
    re.VERBOSE,
)
# First words of the lines that state where a process was when it crashed or was ended.
_DUMP = ("Fatal Python error:", "Current thread 0x", "Stack (most recent call first):")
_FATAL = re.compile(r"F\d{4} |\d{4}-\d\d-\d\d [\d:.]+: F |.*Check failed:|terminate called|LLVM ERROR:|.*Assertion ")
# Frame of the stack dump, most recent first -> what the process was doing.
_DOING = [
    (
        r"ai_edge_litert/interpreter\.py\", line \d+ in (?:allocate_tensors|__init__|modify_graph\w*)",
        "LiteRT loaded it",
    ),
    (r"ai_edge_litert/interpreter\.py", "LiteRT ran it"),
    (
        r"lite/python/optimize/calibrator\.py\", line \d+ in (?:_feed_tensor\w*|calibrate)$",
        "the TFLite converter calibrated",
    ),
    (r"lite/python/optimize/calibrator\.py", "the TFLite converter quantized"),
    (r"lite/python/(?:convert|lite|convert_phase)\.py", "the TFLite converter converted"),
    (r"(?:ai_edge|litert)_quantizer/calibrator\.py", "ai-edge-quantizer calibrated"),
    (r"(?:ai_edge|litert)_quantizer/", "ai-edge-quantizer quantized"),
    (r"tensorflow_model_optimization/", "tfmot prepared the training"),
    (r"(?:tf_keras|keras)/", "Keras ran the model"),
]


def last_line(text: str) -> str:
    """Return the line of a log that says most about a crash: a fatal one, or else the last that is no chatter.

    Empty where there is none. The stack dump is skipped.
    """
    lines, _ = _parts(text)
    printed = [line.strip() for line in lines if line.strip() and not _CHATTER.match(line.strip())]
    fatal = [line for line in printed if _FATAL.match(line)]
    return (fatal or printed or [""])[-1]


def doing(text: str) -> str:
    """Say what the process was doing by the stack dump in its log, as `` while ...``; empty where that says nothing."""
    _, dump = _parts(text)
    for line in dump:
        for frame, words in _DOING:
            if re.search(frame, line.strip()):
                return f" while {words}"
    return ""


def _parts(text: str) -> tuple[list[str], list[str]]:
    lines = text.splitlines()
    dump = next((i for i, line in enumerate(lines) if line.startswith(_DUMP)), len(lines))
    return lines[:dump], lines[dump:]


def of_crash(text: str, how: str) -> str:
    """Describe a crash or a timeout by the log of the process.

    Args:
        how: how it ended, such as ``the worker process died of SIGABRT``.
    """
    head = f"{how}{doing(text)}"
    words = last_line(text)
    told = explained(words)
    if told is not None:
        return f"{head}: {told}"
    return f"{head}; its last output: {words[:200]}" if words else f"{head}, with no output"
