import re
from pathlib import Path
from typing import Any

import pytest

from radialbench.maskgen import document
from radialbench.maskgen.document import (
    MAX_CHARACTERS,
    Document,
    DocumentError,
    parse_document,
    read_document,
)


def value_of(text: str) -> Any:
    return parse_document(text, "a.yaml").value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("a", "a"),
        ("a: 1\nb: [2, 0.5, true, null, x, '7']", {"a": 1, "b": [2, 0.5, True, None, "x", "7"]}),
        ("a: >-\n  b\n  c", {"a": "b c"}),
        ("yes: no\n1: 2\nnull: ~", {"yes": False, "1": 2, "null": None}),
        ("a: 2001-01-01", {"a": "2001-01-01"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("- =", ["="]),
        ("a: {}\nb: []", {"a": {}, "b": []}),
        ("a: 1_000", {"a": 1000}),
        (
            "a: [5e-1, 1e3, 2E+2, .5e1, -1.e2, 1.5e3]",
            {"a": [0.5, 1000.0, 200.0, 5.0, -100.0, 1500.0]},
        ),
        (
            "a: [0, -0, 0.5, 0x10, '010', '1:30', '1e3']",
            {"a": [0, 0, 0.5, 16, "010", "1:30", "1e3"]},
        ),
        ("010: a\n1:30: b", {"010": "a", "1:30": "b"}),
        ("a: δ 🎥", {"a": "δ 🎥"}),
        ("---\na: 1\n...", {"a": 1}),
    ],
)
def test_reads_plain_values(text: str, value: Any) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    "number", ["010", "-010", "+08", "00", "00.5", "01e3", "1:30", "0:30", "190:20:30.15", "-1:30"]
)
def test_numbers_that_yaml_reads_as_others_are_refused(number: str) -> None:
    reason = (
        f"{number} is another number to YAML than it says; write a number without leading zeros "
        f"and colons, or text as '{number}'"
    )
    for text, place in ((number, "1:1: "), (f"heads:\n  - [1, {number}]", "2:9: heads[0][1]: ")):
        with pytest.raises(DocumentError) as caught:
            value_of(text)
        assert str(caught.value) == f"a.yaml:{place}{reason}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "a.yaml:1:9: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "a.yaml:1:5: not YAML: mapping values are not allowed here"),
        ("a:\n\t- 1", "a.yaml:2:1: not YAML: found character '\\t' that cannot start any token"),
        ("a: 'b", "a.yaml:1:6: not YAML: found unexpected end of stream"),
        ("a: 1\na: 2", "a.yaml:2:1: key 'a' appears twice"),
        ("b: 1\n  a: 2", "a.yaml:2:4: not YAML: mapping values are not allowed here"),
        (
            "a: &x 1\nb: *x",
            "a.yaml:1:4: anchors and aliases are not supported; write the value out",
        ),
        ("a: *x", "a.yaml:1:4: anchors and aliases are not supported; write the value out"),
        ("&x {a: 1}", "a.yaml:1:1: anchors and aliases are not supported; write the value out"),
        ("a: !!int 3", "a.yaml:1:4: tags are not supported; write the value plainly"),
        (
            "a: !!python/name:os.system",
            "a.yaml:1:4: tags are not supported; write the value plainly",
        ),
        ("a: !!timestamp x", "a.yaml:1:4: tags are not supported; write the value plainly"),
        ("!!set {a, b}", "a.yaml:1:1: tags are not supported; write the value plainly"),
        ("a: ! 3", "a.yaml:1:4: tags are not supported; write the value plainly"),
        ("? [a]\n: 1", "a.yaml:1:3: a key must be a word"),
        ("a: 1\n---\nb: 2", "a.yaml:2:1: not YAML: but found another document"),
        ("%YAML 3.0\n---\na", "a.yaml:1:1: not YAML: found incompatible YAML document"),
        ("a: 0x" + "f" * 40, "a.yaml:1:4: a whole number beyond ±2^63"),
        ("a: " + "9" * 5_000, f"a.yaml:1:4: not a number: '{'9' * 40}'"),
        ("a: 1:" + "59:" * 2_000 + "0", "a.yaml:1:4: a: 1:59:59"),
        ("a: \x00", "a.yaml: not YAML: unacceptable character #x0000: special characters are not"),
        ("a: \ud800", "a.yaml: not YAML: unacceptable character #xd800: special characters are"),
        ("a: 0x_", "a.yaml:1:4: not a number: '0x_'"),
        ("[" * 32 + "]" * 32, "a.yaml:1:32: nested more than 30 deep"),
        ("\n".join(" " * i + "a:" for i in range(40)), "a.yaml:31:31: nested more than 30 deep"),
        ("\n" + "[" * 9_000, "a.yaml:2:101: more than 100 brackets are open"),
        ("[" + "1," * 20_000 + "]", "a.yaml:1:20000: more than 10,000 entries"),
        ("{" * 60_000, "a.yaml:1:101: more than 100 brackets are open"),
        ("a" * (MAX_CHARACTERS + 1), "a.yaml: longer than 64,000 characters"),
    ],
    ids=lambda text: text[:16],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as error:
        parse_document(text, "a.yaml")
    assert str(error.value).startswith(message)


def test_aliases_that_would_explode_are_refused_before_they_do() -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    with pytest.raises(DocumentError, match="a.yaml:1:5: anchors and aliases"):
        parse_document("\n".join(lines), "a.yaml")


def test_places() -> None:
    document = parse_document("a:\n  b: [1,\n    {c: 2}]\n", "a.yaml")
    places = {
        (): "a.yaml:1:1",
        ("a",): "a.yaml:1:1",
        ("a", "b"): "a.yaml:2:3",
        ("a", "b", 0): "a.yaml:2:7",
        ("a", "b", 1, "c"): "a.yaml:3:6",
        ("a", "b", 1, "d", "e"): "a.yaml:3:5",
        ("z",): "a.yaml:1:1",
    }
    for path, place in places.items():
        assert document.place(path) == place
    assert Document("here", {}).place(("a",)) == "here"


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: δ", encoding="utf-8")
    document = read_document(path)
    assert document.value == {"a": "δ"}
    assert document.place(("a",)) == f"{path}:1:1"


def test_unreadable_files(tmp_path: Path) -> None:
    binary, long = tmp_path / "binary.yaml", tmp_path / "long.yaml"
    binary.write_bytes(b"\x93NUMPY\xff\xfe")
    long.write_bytes(b"a" * 70_000)
    for path, message in (
        (tmp_path / "none.yaml", "none.yaml: No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (Path("a\x00.yaml"), "cannot read a\x00.yaml: a path cannot hold NUL characters"),
        (binary, "binary.yaml: not a text file in UTF-8"),
        (long, "long.yaml: longer than 64,000 characters"),
        (Path("/dev/zero"), "/dev/zero: it is a device, and only files are read"),
    ):
        with pytest.raises(DocumentError) as error:
            read_document(path)
        assert message in str(error.value)


def test_nothing_else_in_the_package_reads_yaml() -> None:
    folder = Path(document.__file__).parents[1]
    texts = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    loads = re.compile(r"yaml\.(\w*load\w*|\w*Loader|compose|parse)\b")
    assert [path.name for path, text in texts.items() if loads.search(text)] == ["document.py"]
