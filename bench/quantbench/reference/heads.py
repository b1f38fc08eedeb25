"""See one further output of a model as if it were the main one, so that everything that takes a model judges it too."""

from dataclasses import dataclass, fields, replace

from quantbench.reference.datasets import Pack
from quantbench.reference.model import Head, ReferenceModel


@dataclass(frozen=True)
class OfHead(ReferenceModel):
    """A model whose metric, labels and release limits are those of one of its further outputs.

    Attributes:
        whole: the model that the output is of.
        labels: key of the output's labels in the data pack.
    """

    whole: ReferenceModel | None = None
    labels: str = ""

    def pack(self) -> Pack:
        """Load the model's data with the labels of this output as those of the test split. Raises BadInput."""
        assert self.whole is not None
        found = self.whole.pack()
        return replace(found, test=replace(found.test, y=found.test.labels(self.labels)))


def of_head(model: ReferenceModel, head: Head) -> ReferenceModel:
    """Return the model as this output has it scored."""
    own = {one.name: getattr(model, one.name) for one in fields(ReferenceModel)}
    own |= {"metric": head.metric, "floors": head.floors, "heads": (), "seed_scores": (), "smallest_drop": None}
    return OfHead(**own, whole=model, labels=head.labels)


def by_output(model: ReferenceModel) -> dict[str, ReferenceModel]:
    """Return the model as each scored output has it, by the output's name; the main one first, and empty."""
    return {"": model, **{head.name: of_head(model, head) for head in model.heads}}
