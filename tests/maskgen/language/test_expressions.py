import copy
import pickle
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench.errors import SpecError
from radialbench.maskgen.language.expressions import (
    FUNCTIONS,
    NUMBER,
    TRUTH,
    Expr,
    call,
    constant,
    extent,
    name,
    substitute,
)
from radialbench.maskgen.language.parser import check_readable, parse, typecheck
from tests.maskgen.random_masks import GIVEN, Maker

dt, ds, qt = name("dt"), name("ds"), name("qt")
KINDS = {"dt": NUMBER, "ds": NUMBER, "qt": NUMBER, "causal": TRUTH}


@pytest.mark.parametrize(
    ("built", "text"),
    [
        (dt + 1, "dt + 1"),
        (1 + dt, "1 + dt"),
        (dt - ds - qt, "dt - ds - qt"),
        (dt - (ds - qt), "dt - (ds - qt)"),
        (2 * (dt + 1), "2 * (dt + 1)"),
        (dt / 2 / ds, "dt / 2 / ds"),
        (7 // dt % 3, "7 // dt % 3"),
        (7 / dt, "7 / dt"),
        (7 % dt, "7 % dt"),
        (2**dt, "2**dt"),
        (dt**2**ds, "dt**2**ds"),
        ((dt**2) ** ds, "(dt**2)**ds"),
        (dt ** (-ds), "dt**(-ds)"),
        (-(dt**2), "-dt**2"),
        ((-dt) ** 2, "(-dt)**2"),
        (-constant(5), "-5"),
        (constant(-5) ** 2, "(-5)**2"),
        (-constant(-5), "5"),
        (abs(dt), "abs(dt)"),
        ((dt < 1) & (ds > 2) | (qt <= 3), "dt < 1 and ds > 2 or qt <= 3"),
        ((dt < 1) & ((ds > 2) | (qt >= 3)), "dt < 1 and (ds > 2 or qt >= 3)"),
        (~(dt.equals(1)), "not dt == 1"),
        (~(dt < 1) & (ds < 1), "not dt < 1 and ds < 1"),
        ((dt < 1).equals(ds < 1), "(dt < 1) == (ds < 1)"),
        (dt.differs(ds), "dt != ds"),
        (call("max", dt, ds, 3), "max(max(dt, ds), 3)"),
        (call("clamp", dt, 1, 3), "min(max(dt, 1), 3)"),
        (call("where", dt < 1, ds, 0.5), "where(dt < 1, ds, 0.5)"),
        (constant(True) & (dt < 1), "true and dt < 1"),
        (dt < 1e-07, "dt < 1e-07"),
        (dt < 2**53, "dt < 9007199254740992"),
        ((dt < 1) & False, "dt < 1 and false"),
    ],
)
def test_python_and_text_give_the_same_tree(built: Expr, text: str) -> None:
    assert str(built) == text
    assert parse(text) is built


@settings(GIVEN, max_examples=500)
@given(seed=st.integers(0, 2**63), depth=st.integers(0, 5))
def test_text_reads_back(seed: int, depth: int) -> None:
    tree = Maker(seed).truth(depth)
    assert parse(str(tree)) is tree
    check_readable(tree)


def test_nodes_are_kept_once() -> None:
    assert dt + 1 is dt + 1
    assert constant(True) is not constant(1)
    assert copy.deepcopy(dt + 1) is dt + 1
    assert pickle.loads(pickle.dumps(dt + ds < 3)) is (dt + ds < 3)
    assert repr(dt + 1) == "Expr('dt + 1')"


def test_walk_visits_each_node_once_operands_first() -> None:
    tree = (dt + 1) * (dt + 1) + dt
    assert [str(node) for node in tree.walk()] == [
        "dt",
        "1",
        "dt + 1",
        "(dt + 1) * (dt + 1)",
        "(dt + 1) * (dt + 1) + dt",
    ]
    assert tree.names() == {"dt"}


def test_substitute() -> None:
    assert substitute(dt + ds, {"dt": ds * 2}) is ds * 2 + ds
    # A negated constant is a constant: it would be one if it were read from text.
    assert substitute(-name("x"), {"x": constant(3)}) is constant(-3)


def test_extent_counts_what_is_written_out() -> None:
    assert extent(dt + 1, {}) == (3, 2)
    square = (dt + 1) * (dt + 1)
    assert extent(square, {}) == (7, 3)
    assert extent(name("a") * name("a"), {"a": (7, 3)}) == (15, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bool(dt < 1), "an expression has no truth value in Python: (dt < 1); join "),
        (lambda: dt < 1 < 2, "compare with .equals and .differs"),
        (
            lambda: dt + cast(float, "1"),
            "an expression is built from numbers and expressions, got '1'",
        ),
        (
            lambda: dt + cast(float, None),
            "an expression is built from numbers and expressions, got None",
        ),
        (lambda: dt + float("nan"), "a number must be finite"),
        (lambda: dt + float("inf"), "a number must be finite"),
        (lambda: dt + 10**400, "a number must be finite"),
        (lambda: call("sin", dt), "unknown function 'sin'; did you mean 'min'?"),
        (lambda: call("abs"), "abs() takes 1 argument, got 0"),
        (lambda: call("where", dt < 1, dt), "where() takes 3 arguments, got 2"),
        (lambda: call("max", dt), "max() takes at least 2 arguments, got 1"),
    ],
)
def test_building_errors(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_check_their_arguments(function: str) -> None:
    least, most = FUNCTIONS[function]
    for count in (least - 1, *([most + 1] if most else [])):
        with pytest.raises(SpecError, match=rf"{function}\(\) takes .* arguments?, got {count}"):
            call(function, *[dt] * count)
    assert call(function, *[dt] * least).op in (function, "min")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("dt + 1", NUMBER),
        ("-dt", NUMBER),
        ("dt < 1", TRUTH),
        ("causal", TRUTH),
        ("not causal", TRUTH),
        ("causal == (dt < 1)", TRUTH),
        ("where(causal, dt, 1)", NUMBER),
        ("where(causal, causal, dt < 1)", TRUTH),
        ("max(dt, ds)", NUMBER),
        ("true", TRUTH),
    ],
)
def test_kind(text: str, kind: str) -> None:
    assert typecheck(parse(text), KINDS) == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dt + causal",
            "'+' wants a number but 'causal' is a truth value, in 'dt + causal'",
        ),
        ("-causal", "'-' wants a number but 'causal' is a truth value, in '-causal'"),
        ("dt and causal", "'and' wants a truth value but 'dt' is a number, in 'dt and causal'"),
        ("not dt", "'not' wants a truth value but 'dt' is a number, in 'not dt'"),
        ("causal < 1", "'<' wants a number but 'causal' is a truth value, in 'causal < 1'"),
        ("causal == 1", "'==' wants a truth value but '1' is a number, in 'causal == 1'"),
        (
            "where(dt, 1, 2)",
            "'where' wants a truth value but 'dt' is a number, in 'where(dt, 1, 2)'",
        ),
        (
            "where(causal, 1, causal)",
            "'where' wants a number but 'causal' is a truth value, in 'where(causal, 1, causal)'",
        ),
        ("abs(causal)", "'abs' wants a number but 'causal' is a truth value, in 'abs(causal)'"),
        ("qtt < 1", "unknown name 'qtt'; did you mean 'qt'?"),
        ("foo < 1", "unknown name 'foo'; known: causal, ds, dt, qt."),
        (
            f"not ({' + '.join(['dt'] * 40)})",
            f"'not' wants a truth value but '{'dt + ' * 15}dt...' is a number, in "
            f"'not {'dt + ' * 14}dt ...'",
        ),
    ],
)
def test_kind_errors(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        typecheck(parse(text), KINDS)
    assert str(error.value) == message


def test_check_readable_refuses_what_text_cannot_say() -> None:
    deep = dt
    for _ in range(100):
        deep = deep + 1
    with pytest.raises(SpecError, match="nested more than 60 deep"):
        check_readable(deep)
    square = dt + 1
    for _ in range(100):
        square = square * square
    with pytest.raises(SpecError, match="at most 10,000 characters"):
        check_readable(square)
    with pytest.raises(SpecError, match="a number beyond ±2\\^53"):
        check_readable(dt + 2**53 + (2**53 + 2))
    for odd in (Expr("neg", (constant(1),)), Expr("sin", (dt,)), name("a b"), name("true")):
        with pytest.raises(SpecError):
            check_readable(odd)
