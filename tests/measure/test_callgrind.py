"""The parser of callgrind's dumps, on a dump as callgrind 3.19 writes it, and operators from a sequence of dumps."""

from collections import Counter

import pytest
from quantbench.measure.callgrind import AFTER, BEFORE, REQUEST, Profile, operators, parse

# Recorded, and shortened to two functions; with name compression, a recursive function and calls of others.
DUMP = """# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 4758
cmd:  /venv/bin/python -m quantbench.measure.instructions_worker
part: 1


desc: I1 cache: 
desc: D1 cache: 
desc: LL cache: 

desc: Timerange: Basic block 0 - 31259
desc: Trigger: Client Request: artifact 3 GenuineIntel-306c3-aa

positions: line
events: Ir
summary: 6542


ob=(9) /usr/lib/libpywrap_litert_common.so
fl=(2) ???
fn=(1374) tflite::Subgraph::InvokeImpl()
0 7
cfn=(1376) tflite::ops::builtin::conv::Eval(TfLiteContext*, TfLiteNode*)
calls=1 0 
0 6202
0 2

fn=(1490) operator==(A const&, B const&)'2
0 21

fn=(1376)
0 121
* 12
+3 79
cfn=(1490)
calls=4 0 
0 21
0x10 5990

totals: 6542
"""  # noqa: W291


def test_a_recorded_dump() -> None:
    profile = parse(DUMP.splitlines())
    conv = "tflite::ops::builtin::conv::Eval(TfLiteContext*, TfLiteNode*)"
    assert profile.trigger == f"{REQUEST}artifact 3 GenuineIntel-306c3-aa"
    assert profile.own == {
        "tflite::Subgraph::InvokeImpl()": 9,
        "operator==(A const&, B const&)": 21,
        conv: 6202,
    }
    assert profile.total == 6232


@pytest.mark.parametrize("text", ["", "cmd: python\n", "events: Cycles Ir\n0 5\n"])
def test_what_is_no_dump_of_instructions_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(text.splitlines())


def dump(trigger: str, **own: int) -> Profile:
    return Profile(trigger, Counter(own))


XNNPACK = "xnn_run_operator_with_index"
_TYPE = "<(tflite::ops::builtin::conv::KernelType)2>"
CONV = f"TfLiteStatus tflite::ops::builtin::conv::Eval{_TYPE}(TfLiteContext*, TfLiteNode*)"
PART = CONV.replace("::Eval<", "::EvalImpl<")
POOL = "TfLiteStatus tflite::ops::builtin::pooling::MaxEval<1>(TfLiteContext*, TfLiteNode*)"


def test_operators_of_xnnpack_and_what_is_between_them() -> None:
    dumps = [
        dump(f"{BEFORE}{XNNPACK}", Invoke=10),
        dump(f"{AFTER}{XNNPACK}", xnn_qs8_igemm_minmax_ukernel_3x16c8__avx2=90, xnn_run_operator_with_index=100),
        dump(f"{BEFORE}{XNNPACK}", Invoke=20),
        dump(f"{AFTER}{XNNPACK}", xnn_run_operator_with_index=26),
        dump(f"{REQUEST}artifact 0 P", Invoke=30),
    ]
    assert operators(dumps) == ([("qs8_igemm_minmax_3x16c8_avx2", 190), ("no kernel", 26)], 60)


def test_operators_of_the_builtin_kernels_end_where_the_next_begins() -> None:
    dumps = [
        dump(f"{BEFORE}{CONV}", Invoke=10),
        dump(f"{BEFORE}{PART}", Eval=3),
        dump(f"{BEFORE}{CONV}", ConvPerChannel=500, Invoke=4),
        dump(f"{BEFORE}{PART}", Eval=3),
        dump(f"{BEFORE}{POOL}", ConvPerChannel=700),
        dump(f"{BEFORE}{XNNPACK}", MaxPool=50),
        dump(f"{AFTER}{XNNPACK}", xnn_f32_vadd_ukernel__avx_u16=40),
        dump(f"{REQUEST}artifact 0 P", Invoke=30),
    ]
    found = [("conv", 507), ("conv", 703), ("pooling", 50), ("f32_vadd_avx_u16", 40)]
    assert operators(dumps) == (found, 40)


def test_the_operators_of_a_call_add_up_to_it() -> None:
    dumps = [dump(f"{BEFORE}{XNNPACK}", a=1), dump(f"{BEFORE}{CONV}", b=2), dump(f"{BEFORE}{PART}", c=3)]
    found, between = operators([*dumps, dump(f"{REQUEST}x", d=4)])
    assert sum(count for _, count in found) + between == 10
