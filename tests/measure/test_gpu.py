"""The GPU: the judge on made-up numbers, processes that die, and the real path on SwiftShader where it is installed."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, Quantbench, instead_of_python, steps
from on_devices import float_artifact, measured_there
from quantbench import gate
from quantbench.baselines import update_cell
from quantbench.build.store import Store
from quantbench.errors import BadInput
from quantbench.measure import gpu, gpu_devices
from quantbench.measure.gpu import Artifact, Crashed, Effort, GpuFailed, OnGpu, Refused
from quantbench.measure.gpu_devices import Found
from quantbench.measure.gpu_worker import END_OF_VARIANT
from quantbench.records import AcceptedGpu, BaselineCell, Device, Kind, Measurement, Verdict
from quantbench.reference.model import load_models
from quantbench.report import formatting
from quantbench.tflite.litert_gpu import adapter, lost, no_adapter, on_cpu, refusal, trouble

SUBJECT = gate.Subject("m", "v", "reports/r")
REAL = Device(name="A GPU", kind="discrete", driver="d 1")
SOFTWARE = Device(name="SwiftShader Device (Subzero)", kind="software")
MODELS = load_models(ROOT / "models")
SELECTED, LOADED = "Selected adapter: A GPU, arch=a", END_OF_VARIANT  # lines of a process's log


def found(agreement: float, n: int = 200) -> dict[str, Measurement]:
    return {"gpu_agreement": Measurement(value=agreement, unit="fraction", n=n)}


# ---------------------------------------------------------------- the judge


@pytest.mark.parametrize(
    ("agreement", "verdict"), [(1.0, Verdict.PASS), (0.95, Verdict.PASS), (0.9, Verdict.REGRESSED)]
)
def test_a_wrong_answer_is_red_on_any_device(agreement: float, verdict: Verdict) -> None:
    for device in (REAL, SOFTWARE):
        judged = gate.gpu(SUBJECT, found(agreement), device, "", None)
        assert (judged.kind, judged.verdict) == (Kind.GPU, verdict)
        assert device.label in judged.message
        assert ("baseline update" in steps(judged)) == (verdict is Verdict.REGRESSED)


def test_a_low_agreement_is_accepted_for_its_device_alone() -> None:
    baseline = BaselineCell(gpu_agreement={SOFTWARE.name: 0.75})
    assert gate.gpu(SUBJECT, found(0.75), SOFTWARE, "", baseline).verdict is Verdict.PASS
    assert gate.gpu(SUBJECT, found(0.59), SOFTWARE, "", baseline).verdict is Verdict.REGRESSED
    assert gate.gpu(SUBJECT, found(0.75), REAL, "", baseline).verdict is Verdict.REGRESSED


def test_no_device_is_unjudged_with_the_reason_and_an_error_where_one_is_required() -> None:
    judged = gate.gpu(SUBJECT, {}, None, "no Vulkan driver", None)
    assert (judged.verdict, judged.message) == (Verdict.UNJUDGED, "not measured on a GPU: no Vulkan driver")
    assert gate.gpu(SUBJECT, {}, None, "no Vulkan driver", None, required=True).verdict is Verdict.ERROR


def test_a_failure_is_an_error_and_an_artifact_left_to_the_cpu_is_unjudged() -> None:
    judged = gate.gpu(SUBJECT, {}, REAL, "the GPU process died of SIGSEGV", None)
    assert (judged.verdict, "SIGSEGV" in judged.message) == (Verdict.ERROR, True)
    nothing = found(1.0) | {"gpu_left": Measurement(value=7, unit="operators", n=7)}
    assert gate.gpu(SUBJECT, nothing, REAL, "", None).verdict is Verdict.UNJUDGED


def test_an_update_keeps_what_is_low_by_device() -> None:
    def accepted(agreement: float, old: dict[str, float]) -> dict[str, float]:
        fields = {"verdicts": {Kind.GPU: Verdict.REGRESSED}, "gpu_refusal": "", "further_gpu_refusals": {}}
        both = {**found(agreement), f"gpu_agreement@{REAL.name}": found(0.6)["gpu_agreement"]}
        cell = SimpleNamespace(measurements=both, census=None, **fields)
        report = SimpleNamespace(environment=SimpleNamespace(gpus={"": SOFTWARE, REAL.name: REAL}))
        return update_cell.gpu_agreement(cell, BaselineCell(gpu_agreement=old), report)  # type: ignore[arg-type]

    assert accepted(0.7, {"other": 0.8}) == {"other": 0.8, SOFTWARE.name: 0.7, REAL.name: 0.6}
    assert accepted(1.0, {"other": 0.8, SOFTWARE.name: 0.7}) == {"other": 0.8, REAL.name: 0.6}
    assert "gpu_agreement" not in BaselineCell().model_dump()


@pytest.mark.parametrize(
    ("agreement", "verdict", "kept"),
    [(1.0, Verdict.PASS, (0.99, 200)), (0.5, Verdict.REGRESSED, (0.5, 37)), (1.0, Verdict.IMPROVED, (1.0, 37))],
)
def test_an_update_keeps_what_was_accepted_of_more_examples_unless_a_slow_device_contradicts_it(
    agreement: float, verdict: Verdict, kept: tuple[float, int]
) -> None:
    fewer = {"gpu_examples": Measurement(value=37, unit="examples", n=200)}
    judged = SimpleNamespace(measurement="gpu_agreement", verdict=verdict)
    cell = SimpleNamespace(
        measurements=found(agreement, 37) | fewer,
        census=None,
        verdicts={Kind.GPU: verdict},
        judgements=[judged],
        gpu_refusal="",
        further_gpu_refusals={},
    )
    report = SimpleNamespace(environment=SimpleNamespace(gpus={"": SOFTWARE}))
    before = BaselineCell(gpu={SOFTWARE.name: AcceptedGpu(agreement=0.99, examples=200)})
    after = update_cell.accepted_gpu(cell, before, report)[SOFTWARE.name]  # type: ignore[arg-type]
    assert (after.agreement, after.examples) == kept


# ---------------------------------------------------------------- what LiteRT writes

LOG = """\
I0000 00:00:1.2   26612 environment.cc:532] Selected adapter: SwiftShader Device (Subzero), arch=swiftshader, vendor=g
ERROR: Following operations are not supported by GPU delegate:
RESHAPE: Tensor dimensions must be less than 5. permute
TRANSPOSE: Permutation for transpose is invalid.
179 operations will run on the GPU, and the remaining 3 operations will run on the CPU.
"""


def test_its_log_tells_the_adapter_and_what_was_left_to_the_cpu() -> None:
    assert adapter(LOG) == "SwiftShader Device (Subzero)"
    left, operators, why = on_cpu(LOG)
    assert (left, operators, [name for name, _ in why]) == (3, 182, ["RESHAPE", "TRANSPOSE"])
    assert on_cpu(LOG.partition("ERROR")[0]) == (0, 0, [])
    none = "No operations will run on the GPU, and all 9 operations will run on the CPU."
    assert on_cpu(none)[:2] == (9, 9)


def test_its_log_tells_refusals_and_lost_devices() -> None:
    assert refusal("x\nERROR: [model_load.cc:316] Variable tensors not yet supported.\n") == (
        "Variable tensors not yet supported."
    )
    assert lost("E0000 Device lost: reset\n") == "E0000 Device lost: reset"
    assert not lost(LOG)
    assert trouble("Warning: Vulkan x required.\nERROR: [a.cc:1] No adapters found\nlast") == (
        "Warning: Vulkan x required.; ERROR: [a.cc:1] No adapters found"
    )
    assert no_adapter("Warning: Vulkan x required.\nERROR: [a.cc:1] No adapters found\nlast") == (
        "LiteRT accepts no device of this driver (Vulkan x required): install a newer one, as 22.3 of Mesa is too old "
        "and 25.0 is not"
    )
    assert no_adapter("Selected adapter: A, arch=b") == ""
    assert trouble("") == "no output"
    assert (
        trouble("I0000 00:00:179.08   12067 delegate_kernel.cc:984] Initializing")
        == "delegate_kernel.cc:984] Initializing"
    )


# ---------------------------------------------------------------- devices


def test_real_gpus_come_first_and_other_backends_not_at_all() -> None:
    told = [
        {"device": "soft", "adapter_type": "CPU", "backend_type": "Vulkan", "vendor": "SwiftShader driver"},
        {"device": "card", "adapter_type": "DiscreteGPU", "backend_type": "Vulkan", "description": "d  1"},
        {"device": "gl", "adapter_type": "CPU", "backend_type": "OpenGL"},
    ]
    ordered = [Device.model_validate(one) for one in gpu_devices.real_first(told)]
    assert [(one.name, one.kind, one.driver) for one in ordered] == [
        ("card", "discrete", "d 1"),
        ("soft", "software", "SwiftShader driver"),
    ]
    assert [one.software for one in ordered] == [False, True]


def test_a_software_device_is_taken_only_where_its_driver_was_asked_for() -> None:
    assert gpu_devices.usable([REAL, SOFTWARE], asked=False).devices == [REAL]
    assert gpu_devices.usable([SOFTWARE], asked=True).first == SOFTWARE
    passed_over = gpu_devices.usable([SOFTWARE], asked=False)
    assert passed_over.first is None
    assert "software" in passed_over.reason
    assert "no Vulkan driver" in gpu_devices.usable([], asked=False).reason


def test_a_driver_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_devices, "SWIFTSHADER", (str(tmp_path / "none.json"),))
    for choice, words in (
        ("swiftshader", "apt-get install chromium"),
        ("nonesuch", "expected swiftshader, or the path of a"),
        (f"{driver(tmp_path, 'a')},nonesuch", "no Vulkan driver 'nonesuch' here"),
        (f"{driver(tmp_path, 'a')}, {driver(tmp_path, 'a')}", "a.json is named twice"),
        (driver(tmp_path, "cut", "{"), "cut.json describes no Vulkan driver; expected JSON with ICD.library_path"),
        (driver(tmp_path, "list", "[]"), "list.json describes no Vulkan driver"),
        (driver(tmp_path, "other", '{"ICD": {"library_path": 1}}'), "other.json describes no Vulkan driver"),
    ):
        with pytest.raises(BadInput, match=words):
            gpu_devices.chosen_drivers({gpu_devices.CHOICE: choice})
    assert gpu_devices.chosen_drivers({}) == gpu_devices.chosen_drivers({gpu_devices.CHOICE: " , "}) == []


def driver(folder: Path, name: str, text: str = '{"ICD": {"library_path": "./lib.so"}}') -> str:
    (folder / f"{name}.json").write_text(text)
    return str(folder / f"{name}.json")


def test_devices_of_several_drivers_stand_side_by_side_and_none_gets_lost() -> None:
    one, two = Found([REAL], others=[SOFTWARE]), Found([SOFTWARE])
    both = gpu_devices.beside({"a.json": one, "b.json": two})
    assert (both.devices, both.others, both.reason) == ([REAL, SOFTWARE], [SOFTWARE], "")
    assert both.drivers == {REAL.name: "a.json", SOFTWARE.name: "b.json"}
    none = gpu_devices.beside({"a.json": one, "b.json": Found(reason="no Vulkan driver lists an adapter")})
    assert (none.devices, none.reason) == ([], "b.json: no Vulkan driver lists an adapter")
    twice = gpu_devices.beside({"a.json": one, "b.json": one})
    assert (twice.devices, twice.reason) == (
        [],
        "$QUANTBENCH_VULKAN: a.json and b.json both drive A GPU; name one of them",
    )


def test_each_device_gets_its_own_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = driver(tmp_path, "a"), driver(tmp_path, "b")
    (tmp_path / "lib.so").write_bytes(b"code")
    monkeypatch.setenv(gpu_devices.CHOICE, f"{one},{two}")
    beside = Found([REAL, SOFTWARE], drivers={REAL.name: one, SOFTWARE.name: two})
    monkeypatch.setattr(gpu_devices, "find", lambda: beside)
    assert [gpu_devices.driver_of(device) for device in (REAL, SOFTWARE)] == [one, two]
    assert gpu_devices.child_environment(two)["VK_DRIVER_FILES"] == two
    assert gpu_devices.child_environment()["VK_DRIVER_FILES"] == one
    assert len(gpu_devices.driver_sha256(SOFTWARE)) == 64
    monkeypatch.delenv(gpu_devices.CHOICE)
    assert gpu_devices.driver_of(REAL) is None
    assert gpu_devices.driver_sha256(REAL) == ""


@pytest.mark.usefixtures("asked_afresh")
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("kill -SEGV $$", "died of SIGSEGV"),
        ("echo bad driver >&2; exit 3", "ended with status 3: bad driver"),
        ("echo []", "no Vulkan driver lists an adapter"),
        ("exec sleep 30", "did not finish within 1 s"),
    ],
)
def test_asking_for_devices_survives_their_drivers(
    script: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(gpu_devices.CHOICE, raising=False)
    monkeypatch.setattr(gpu_devices.util, "find_spec", lambda _: object())
    monkeypatch.setattr(gpu_devices, "LIMIT_SECONDS", 1)
    instead_of_python(tmp_path, script, monkeypatch)
    assert told in gpu_devices.find().reason


@pytest.mark.usefixtures("asked_afresh")
def test_without_the_package_the_reason_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_devices.util, "find_spec", lambda _: None)
    assert gpu_devices.find().reason == "the package wgpu is not installed: pip install 'quantbench[gpu]'"


# ---------------------------------------------------------------- processes that do not come to their end


def a_job(tmp_path: Path) -> dict[str, object]:
    files = {"artifacts": {"variant": "a"}, "inputs": {}, "answers": str(tmp_path / "y.npz"), "driver": None}
    return {**files, "seconds": 0.1, "seed": 0}


@pytest.mark.parametrize(
    ("script", "error", "told"),
    [
        ("kill -SEGV $$", GpuFailed, "the GPU process died of SIGSEGV"),
        ("echo 'W0000 Device was lost: reset' >&2; exit 1", GpuFailed, "the device was lost: W0000 Device was lost"),
        ("echo 'VK_ERROR_DEVICE_LOST' >&2; kill -ABRT $$", GpuFailed, "the device was lost: VK_ERROR_DEVICE_LOST"),
        ("echo hello", GpuFailed, "wrote no result but 'hello"),
        ("exec sleep 30", GpuFailed, "the GPU process did not finish within 1 s: the device computes, but is too slow"),
        ("sleep 0.5; kill -ALRM $$", GpuFailed, "loading the file did not finish within 120 s: its driver hangs"),
        (f"echo '{LOADED}' >&2; kill -ALRM $$", GpuFailed, "a call, or loading float32, did not finish within 120 s"),
        (f"echo '{SELECTED}' >&2; echo '{LOADED}' >&2; kill -ABRT $$", GpuFailed, "the GPU process died of SIGABRT"),
        (
            f"echo '{SELECTED}' >&2; echo 'free(): invalid size' >&2; kill -ABRT $$",
            Refused,
            r"it crashes while it loads the file: died of SIGABRT: free\(\): invalid size",
        ),
        ("echo 'ValueError: Unsupported dtype: int16' >&2; exit 1", Refused, "LiteRT's buffers hold no int16"),
        ("echo 'ERROR: [model_load.cc:3] No such thing.' >&2; exit 1", Refused, "No such thing."),
    ],
)
def test_a_crash_a_lost_device_and_a_hang_are_told(
    script: str, error: type[Exception], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(gpu_devices.CHOICE, raising=False)
    monkeypatch.setattr(gpu, "LIMIT_SECONDS", 1)
    monkeypatch.setattr(gpu.os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    instead_of_python(tmp_path, script, monkeypatch)
    with pytest.raises(error, match=told):
        gpu._run_worker(a_job(tmp_path))


def test_a_device_that_computes_all_the_time_is_slow_and_hangs_no_driver() -> None:
    words = [gpu.why_late(share, 0.5, in_a_step=True) for share in (0.9, 0.1)]
    assert words == [
        "the device computes, but is too slow for this file: choose a faster one, or leave it out with --no-gpu",
        "its driver hangs: install another version of it, or choose another driver with $QUANTBENCH_VULKAN",
    ]


@pytest.mark.parametrize("in_a_step", [True, False])
def test_a_busy_machine_is_to_blame_before_the_device_is(in_a_step: bool) -> None:
    assert gpu.why_late(0.1, 2.0, in_a_step) == (
        "other programs keep the machine busy (load 2.0 for each core): run it again when they are done"
    )
    assert "other programs" not in gpu.why_late(0.1, 1.9, in_a_step)


def test_a_crash_that_does_not_come_again_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpu_devices.CHOICE, raising=False)
    once = tmp_path / "once"
    first = f"[ -e {once} ] || {{ touch {once}; echo '{SELECTED}' >&2; kill -ABRT $$; }}"
    instead_of_python(tmp_path, f"{first}; echo '{{}}'", monkeypatch)
    assert gpu._run_worker(a_job(tmp_path)).seconds == {}


def test_a_file_that_crashes_twice_is_refused_however_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpu_devices.CHOICE, raising=False)
    once = tmp_path / "once"
    again = f"[ -e {once} ] && kill -ABRT $$; touch {once}; kill -SEGV $$"
    instead_of_python(tmp_path, f"echo '{SELECTED}' >&2; echo $$ >&2; {again}", monkeypatch)
    with pytest.raises(Crashed, match="it crashes while it loads the file: died of SIGSEGV"):
        gpu._run_worker(a_job(tmp_path))


def test_a_failure_is_not_kept_and_a_result_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, model, artifact = Store(tmp_path), MODELS["seed_cnn"], Artifact(tmp_path / "a.tflite", "a")
    monkeypatch.delenv(gpu_devices.CHOICE, raising=False)
    with monkeypatch.context() as broken:
        broken.setattr(gpu, "measure", lambda *_: (_ for _ in ()).throw(GpuFailed("the GPU process died of SIGSEGV")))
        assert gpu.through_store(artifact, artifact, model, REAL, store).failure == "the GPU process died of SIGSEGV"
    answers = OnGpu(
        predictions=np.arange(3),
        seconds=[0.001, 0.002],
        left=1,
        operators=2,
        left_why=[("X", "why")],
        left_macs=(3, 5),
        macs=9,
    )
    monkeypatch.setattr(gpu, "measure", lambda *_: answers)
    assert not gpu.through_store(artifact, artifact, model, REAL, store).cached
    monkeypatch.delattr(gpu, "measure")
    kept = gpu.through_store(artifact, artifact, model, REAL, store)
    assert (kept.cached, kept.seconds, kept.left_why) == (True, [0.001, 0.002], [("X", "why")])
    assert (kept.left_macs, kept.macs) == ((3, 5), 9)
    assert list(kept.predictions) == [0, 1, 2]  # type: ignore[arg-type]


def test_answers_that_time_cut_short_are_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a busy machine, whose next run may have time for all of them."""
    store, model, artifact = Store(tmp_path), MODELS["seed_cnn"], Artifact(tmp_path / "a.tflite", "a")
    monkeypatch.delenv(gpu_devices.CHOICE, raising=False)
    seen = []
    for answered in (3, 200, 3):
        monkeypatch.setattr(gpu, "measure", lambda *_, n=answered: OnGpu(predictions=np.arange(n), asked=200))
        taken = gpu.through_store(artifact, artifact, model, REAL, store)
        seen.append((len(taken.predictions), taken.cached))  # type: ignore[arg-type]
    assert seen == [(3, False), (200, False), (200, True)]


# ---------------------------------------------------------------- the real path


# One that runs there whole, and one that is refused; of those at night one runs in part.
AT_ONCE = ("seed_cnn", "lstm")
LATER = [name for name in MODELS if name not in AT_ONCE]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*AT_ONCE, *(pytest.param(name, marks=pytest.mark.nightly) for name in LATER)])
def test_every_model_answers_on_the_gpu_as_on_the_cpu(name: str, device: Device, store: Path) -> None:
    model, artifact = MODELS[name], float_artifact(MODELS[name], store)
    if model.stateful:
        with pytest.raises(Refused, match="Variable tensors"):
            measured_there(model, artifact, device)
        return
    taken, shown = measured_there(model, artifact, device)
    assert (shown["gpu_agreement"].value, shown["gpu_agreement"].n, taken.nonfinite) == (1.0, 20, 0)
    assert shown["gpu_score_change"].value == 0 or model.metric.kind == "continuous"
    assert taken.left_macs[0] <= taken.left_macs[1] <= taken.macs
    # The call alone returns within 31 µs; a result takes a millisecond and more.
    assert min(taken.seconds) > 2e-4
    assert (taken.left > 0) == (name == "vit_tiny")


@pytest.mark.slow
def test_a_device_that_litert_did_not_choose_is_told(device: Device, store: Path) -> None:
    artifact = float_artifact(MODELS["seed_cnn"], store)
    with pytest.raises(GpuFailed, match="not on A GPU"):
        gpu.measure(artifact.path, artifact.path, MODELS["seed_cnn"], REAL, Effort(2, 2))


@pytest.mark.slow
def test_a_killed_process_costs_its_cell(
    device: Device, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = float_artifact(MODELS["seed_cnn"], store)
    instead_of_python(tmp_path, "kill -SEGV $$", monkeypatch)
    with pytest.raises(GpuFailed, match=signal.SIGSEGV.name):
        gpu.measure(artifact.path, artifact.path, MODELS["seed_cnn"], device, Effort(2, 2))


@pytest.mark.slow
def test_a_run_shows_the_software_device_and_judges_its_answers(quantbench: Quantbench, device: Device) -> None:
    here = {gpu_devices.CHOICE: os.environ[gpu_devices.CHOICE]}
    arguments = ("run", "--models", "seed_cnn", "--variants", "float32,ptq_static_wi8_ai8", "-m", "gpu")
    done = quantbench(*arguments, **here)
    assert done.status == 0, done.output
    assert "a software device: its predictions are gated, its times say nothing about a GPU" in done.output
    text = (done.reports / "latest" / "report.md").read_text()
    assert f"### Accelerator: {device.label}" in text
    assert "(software" in text
    cell = done.cell("seed_cnn/ptq_static_wi8_ai8")
    assert cell["verdicts"] == {"gpu": "pass"}
    assert cell["measurements"]["gpu_ratio"]["unit"] == "ratio to float32 on the device"


@pytest.mark.slow
def test_a_run_without_a_device_says_why_and_ends_as_before(quantbench: Quantbench, tmp_path: Path) -> None:
    nowhere = {gpu_devices.CHOICE: str(tmp_path / "none.json"), gpu_devices.REQUIRED: ""}
    arguments = ("run", "--models", "seed_cnn", "--variants", "float32")
    done = quantbench(*arguments, "-m", "gpu or size", **nowhere)
    assert done.status == 0, done.output
    assert "note: GPU checks skipped: $QUANTBENCH_VULKAN: no Vulkan driver" in done.output
    assert done.cell("seed_cnn/float32")["verdicts"] == {"size": "pass", "gpu": "unjudged"}
    required = quantbench(*arguments, "-m", "gpu", **nowhere | {gpu_devices.REQUIRED: "1"})
    assert required.status == 3


def test_words_of_a_report_without_a_gpu() -> None:
    report = SimpleNamespace(environment=SimpleNamespace(gpus={}, no_gpu="no driver"))
    assert formatting.gpu_note(report) == "GPU checks skipped: no driver"  # type: ignore[arg-type]
    assert formatting.gpu_device(report) == "none measured: no driver"  # type: ignore[arg-type]
