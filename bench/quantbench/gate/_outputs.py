"""Have a further output of a model judged as the main one: what was accepted of it, and whose a judgement is."""

from collections.abc import Collection

from quantbench.records import AcceptedFloor, BaselineCell, Judgement
from quantbench.records.measurements import OUTPUT_DISTANCE, of_output, output_in, without_output

# Named so among a model's judgements, they say nothing of the output that they are about.
_OF_OUTPUTS = ("score", "classes", "slices", "seeds", "drift", "floor_accepted", OUTPUT_DISTANCE)
_ACCEPTED = ("score", OUTPUT_DISTANCE)


def accepted_of(cell: BaselineCell | None, output: str) -> BaselineCell | None:
    """Return what was accepted of a further output, as the judges of a score and of outputs take it.

    What the reference kernels answered is left out, as the hash of their answers is of the main output alone.
    """
    if cell is None or not output:
        return cell
    floor = cell.floor
    known = floor is not None and output in floor.outputs
    of_this = {of_output(name, output): name for name in _ACCEPTED}
    return cell.model_copy(
        update={
            "measurements": {of_this[name]: value for name, value in cell.measurements.items() if name in of_this},
            "xfail": {of_this[name]: value for name, value in cell.xfail.items() if name in of_this},
            "floor": AcceptedFloor(max_drop=floor.outputs[output]) if floor is not None and known else None,
            "reference_sha256": None,
        }
    )


def of_all_outputs(accepted: Collection[str], measured: Collection[str]) -> bool:
    """Check whether an accepted distance is of all outputs together, while those measured are of each by itself.

    Older baselines hold no other; it is another quantity than that of the main output.

    Args:
        accepted, measured: names of measurements of a cell.
    """
    apart = {name for name in measured if without_output(name) == OUTPUT_DISTANCE and output_in(name)}
    return bool(apart) and apart.isdisjoint(accepted)


def of_this_output(judgement: Judgement, output: str) -> Judgement:
    """Return a judgement with the name of the output that it is about; empty for the main one."""
    if not output or judgement.measurement not in _OF_OUTPUTS:
        return judgement
    name, message = of_output(judgement.measurement, output), f"output {output}: {judgement.message}"
    return judgement.model_copy(update={"measurement": name, "message": message})
