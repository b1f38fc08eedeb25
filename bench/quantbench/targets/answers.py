"""Make predictions of the outputs that come from a target, batch by batch, as on the machine that gates."""

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.measure import chunks
from quantbench.reference.metrics import flat_outputs
from quantbench.reference.model import ReferenceModel
from quantbench.targets.examples import Examples
from quantbench.targets.failures import TargetFailed
from quantbench.targets.session import Port, Rows
from quantbench.tflite.litert import dequantize


class Collected:
    """Collect the outputs of one artifact, in order; rows of several connections follow each other.

    Where an example's prediction depends on the others, all outputs are kept until the end.

    Attributes:
        count: examples so far.
        nonfinite: those of them with a NaN or infinite output.
    """

    def __init__(self, model: ReferenceModel, examples: Examples) -> None:
        self._model = model
        self._examples = examples
        self.count = self.nonfinite = 0
        self._ports: list[Port] = []
        self._predictions: list[Array] = []
        self._outputs: list[Inputs] = []
        self._first: list[Array] = []
        self._one_by_one: bool | None = None

    def add(self, ports: list[Port], rows: Rows) -> None:
        """Take the next rows. Raises TargetFailed: they are of an artifact with other outputs than before."""
        if self._ports and ports != self._ports:
            raise TargetFailed("garbled", "the artifact's outputs changed between two connections")
        self._ports = ports
        outputs = real(ports, rows)
        part = slice(self.count, self.count + len(rows.outputs[0]))
        self.count = part.stop
        self.nonfinite += chunks.nonfinite_rows(outputs)
        wanted = None if not self._first else chunks.kept_of(self._first[0].shape[1])
        if wanted is None or part.start < wanted:
            self._first.append(flat_outputs(outputs, {}))
        if self._one_by_one is None and part.stop - part.start > 1:
            inputs = self._examples.prepared(part)
            predictions = self._model.metric.predict(outputs, inputs)
            half = slice((part.stop - part.start) // 2, part.stop - part.start)
            self._one_by_one = chunks.each_by_itself(
                lambda of, given: {"": self._model.metric.predict(of, given)}, inputs, outputs, {"": predictions}, half
            )
        if self._one_by_one:
            self._predictions.append(self._model.metric.predict(outputs, self._examples.prepared(part)))
            if self._outputs:
                self._predictions[:0] = [self._all(self._outputs, part.start)]
                self._outputs = []
        else:
            self._outputs.append(outputs)

    def _all(self, outputs: list[Inputs], count: int) -> Array:
        return self._model.metric.predict(_joined(outputs), self._examples.prepared(slice(0, count)))

    def predictions(self) -> Array:
        """Return one prediction per example, shape (n, ...)."""
        if self._outputs:
            return self._all(self._outputs, self.count)
        return np.concatenate(self._predictions)

    def outputs(self) -> Array:
        """Return the outputs of the first examples, shape (m, values), as many as are kept of an evaluation."""
        return chunks.first_rows(np.concatenate(self._first))


def real(ports: list[Port], rows: Rows) -> Inputs:
    """Return outputs as real numbers, by name where there are several."""
    found = {
        port.name: dequantize(values, port.scale, port.zero_point) if values.dtype.kind in "iu" else values
        for port, values in zip(ports, rows.outputs, strict=True)
    }
    return next(iter(found.values())) if len(found) == 1 else found


def _joined(parts: list[Inputs]) -> Inputs:
    first = parts[0]
    if isinstance(first, dict):
        return {name: np.concatenate([part[name] for part in parts if isinstance(part, dict)]) for name in first}
    return np.concatenate([part for part in parts if not isinstance(part, dict)])
