"""Have a further output of a model judged as the main one: what was accepted of it, and whose a judgement is."""

from quantbench.records import AcceptedFloor, BaselineCell, Judgement
from quantbench.records.measurements import of_output

# Named so among a model's judgements, they say nothing of the output that they are about.
_OF_SCORES = ("score", "classes", "slices", "seeds", "drift", "floor_accepted")


def accepted_of(cell: BaselineCell | None, output: str) -> BaselineCell | None:
    """Return what was accepted of a further output, as the judges of a score take it.

    What the reference kernels answered is left out, as the hash of their answers is of the main output alone.
    """
    if cell is None or not output:
        return cell
    score, floor = cell.measurements.get(of_output("score", output)), cell.floor
    known = floor is not None and output in floor.outputs
    xfail = cell.xfail.get(of_output("score", output))
    return cell.model_copy(
        update={
            "measurements": {} if score is None else {"score": score},
            "xfail": {} if xfail is None else {"score": xfail},
            "floor": AcceptedFloor(max_drop=floor.outputs[output]) if floor is not None and known else None,
            "reference_sha256": None,
        }
    )


def of_this_output(judgement: Judgement, output: str) -> Judgement:
    """Return a judgement of a score with the name of the output that it is about; empty for the main one."""
    if not output or judgement.measurement not in _OF_SCORES:
        return judgement
    name, message = of_output(judgement.measurement, output), f"output {output}: {judgement.message}"
    return judgement.model_copy(update={"measurement": name, "message": message})
