"""`radialbench check --offline`: what is written, what changed, and how it exits."""

import json
from pathlib import Path

import pytest

from radialbench.suites.versus import this_version
from tests.commands.line import Capture, Cli
from tests.suites import small
from tests.suites.versions import BARRIER, STAGE, changed, one_kernel

WINDOW = """
name: window
about: Frames beside each other.
mask: abs(dt) <= {reach}
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(monkeypatch, capsys, "check")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    mask(tmp_path, reach=1)

    def change(document: dict[str, list[dict[str, object]]]) -> None:
        grid = {"frames": 4, "height": 4, "width": 4}
        document["cases"][0].update(masks=["dense", "window.yaml"], grids=[grid])

    return small.written(tmp_path, small.text_of(change))


def mask(folder: Path, *, reach: int) -> None:
    (folder / "window.yaml").write_text(WINDOW.format(reach=reach), encoding="utf-8")


def test_a_mask_that_loses_blocks_fails_and_is_named(cli: Cli, suite: Path, tmp_path: Path) -> None:
    base, again = tmp_path / "base.jsonl", tmp_path / "again.jsonl"
    code, out, err = cli("--offline", suite, "--write", base)
    assert (code, err) == (0, "")
    assert "small: 0 kernels, 0 that do not exist, 2 masks" in out
    # Without kernels the version of the compiler makes no difference.
    assert json.loads(base.read_text().splitlines()[0])["compiler"] == "none"
    code, out, _ = cli("--offline", suite, "--baseline", base, "--write", again)
    assert (code, out) == (0, "small: 2 pass\n")
    assert again.read_bytes() == base.read_bytes()

    mask(tmp_path, reach=0)
    code, out, _ = cli("--offline", suite, "--baseline", base)
    assert code == 1
    first, words, end = out.splitlines()
    assert first.startswith("regressed  mask window")
    assert "other pairs attend; pairs 2,560 → 1,024, density 0.625 → 0.25" in words
    assert "full 10 → 4" in words
    assert end == "small: 1 regressed, 1 pass"
    code, out, _ = cli("--offline", suite, "--baseline", base, "--format", "json")
    assert code == 1
    assert json.loads(out)["verdicts"][0]["changes"][0] == {
        "figure": "pairs",
        "before": 2560,
        "now": 1024,
    }
    code, out, _ = cli("--offline", suite, "--baseline", base, "--format", "markdown")
    assert code == 1
    assert out.startswith("**small: 1 regressed, 1 pass**\n\n| outcome | row | what changed |")


def test_rows_that_are_gone_are_reported(cli: Cli, suite: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.jsonl"
    cli("--offline", suite, "--write", base)
    suite.write_text(suite.read_text().replace("- dense\n", ""), encoding="utf-8")
    code, out, _ = cli("--offline", suite, "--baseline", base)
    assert code == 2
    assert "missing  mask dense" in out
    assert cli("--offline", suite, "--baseline", base, "--allow-missing")[0] == 0


def test_bad_input_is_reported_before_anything_is_compiled(
    cli: Cli, suite: Path, tmp_path: Path
) -> None:
    base, empty = tmp_path / "base.jsonl", tmp_path / "empty.jsonl"
    base.write_text("kept", encoding="utf-8")
    empty.touch()
    nowhere = tmp_path / "nowhere" / "file"
    bad: list[tuple[list[object], str]] = [
        (["--offline", "no_suite"], "unknown suite"),
        (["--offline", suite, "--baseline", nowhere], "cannot read"),
        (["--offline", suite, "--baseline", empty], "is empty"),
        (["--offline", suite, "--baseline", base], "not what an offline check wrote"),
        (["--offline", suite, "--write", nowhere], "cannot write"),
        (["--offline", suite, "smoke", "--write", base], "there is no folder"),
        (["--offline", suite, suite], "another suite is named small too"),
        (["--offline", suite, "--baseline", base, "--write", base], "is the baseline"),
        (["--offline", suite, "--format", "junit"], "reports changes"),
        (["--offline", suite, "--format", "csv"], "unknown format"),
        (["--offline", suite, "-o", f"csv={tmp_path / 'a'}"], "unknown format"),
        (["--offline", suite, "-o", f"json={nowhere}"], "cannot write"),
        (["--offline", suite, "--gate", "latency=5%"], "does not take --gate"),
        (["--offline"], "needs suites"),
        ([suite, "--baseline", base, "--strict", "--write", base], "take --write and --strict"),
    ]
    for words, printed in bad:
        code, out, err = cli(*words)
        assert (code, out) == (2, ""), words
        assert printed in " ".join(err.split()), words
    assert base.read_text(encoding="utf-8") == "kept"


def test_strict_fails_on_any_change_in_every_form(cli: Cli, suite: Path, tmp_path: Path) -> None:
    base, xml = tmp_path / "base.jsonl", tmp_path / "check.xml"
    cli("--offline", suite, "--write", base)
    lines = [json.loads(line) for line in base.read_text().splitlines()]
    lines[1]["mask"]["nbytes"] += 4
    base.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = ("--offline", suite, "--baseline", base, "-o", f"junit={xml}", "--format", "github")
    code, out, _ = cli(*words)
    assert code == 0
    assert out.startswith("::warning title=inconclusive%3A small%3A dense/")
    assert "::changed: nbytes" in out
    assert xml.read_text().count("<skipped") == 1
    code, out, _ = cli(*words, "--strict")
    assert code == 1
    assert out.startswith("::error title=regressed%3A small%3A dense/")
    assert xml.read_text().count("<failure") == 1
    assert xml.read_text().count("every figure is equal") == 1


def test_several_suites_have_a_file_each(cli: Cli, suite: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "baselines", tmp_path / "other.yaml"
    folder.mkdir()
    other.write_text(suite.read_text().replace("name: small", "name: other"), encoding="utf-8")
    assert cli("--offline", suite, other, "--write", folder)[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "other.offline.jsonl",
        "small.offline.jsonl",
    ]
    code, out, _ = cli("--offline", suite, other, "--baseline", folder)
    assert (code, out) == (0, "small: 2 pass\nother: 2 pass\n")
    code, out, _ = cli("--offline", other, "--baseline", folder / "other.offline.jsonl")
    assert (code, out) == (0, "other: 2 pass\n")
    code, out, _ = cli("--offline", suite, other, "--baseline", folder, "--format", "json")
    assert [one["suite"] for one in json.loads(out)] == ["small", "other"]


@pytest.mark.slow
def test_a_planted_slowdown_is_caught_without_a_gpu(tmp_path: Path) -> None:
    suite = small.written(tmp_path, small.text_of(one_kernel))
    base = tmp_path / "base.jsonl"
    check: list[str | Path] = ["-m", "radialbench", "check", "--offline", suite]
    code, _, printed = this_version().run([*check, "--write", base])
    assert (code, printed) == (0, "")
    for name, plant in {"a stage less": STAGE, "a barrier more": BARRIER}.items():
        version = changed(tmp_path / name, *plant)
        code, out, printed = version.run([*check, "--baseline", base, "--strict"])
        assert (code, printed) == (1, ""), name
        assert "changed  kernel triton@16x16/d64f16/ragged/sm_90\n" in out
        assert out.endswith("small: 5 changed, 1 pass\n")
