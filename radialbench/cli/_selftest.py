"""`radialbench run --self-test`: what the measuring itself makes of two equal things."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from radialbench.suites.selftest import SelfTest


def tell_self_test(*, json: bool) -> None:
    """Measure, and print a line for each case; exits with 1 if one could not be measured."""
    from radialbench.cli import FAILED
    from radialbench.cli._console import console, print_json
    from radialbench.kernels.environment import environment
    from radialbench.suites.selftest import self_test

    found = self_test()
    facts = [_facts(one) for one in found]
    here = environment("radialbench run --self-test", device=_device(found))
    if json:
        print_json({"device": here.device, "cases": facts})
    else:
        name = here.cpu if here.device == "cpu" else here.device
        for line in (f"{name}: one case against itself, in turn", *map(_line, facts)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if any(one.pair is None for one in found):
        raise typer.Exit(FAILED)


def _device(found: "tuple[SelfTest, ...]") -> str:
    return found[0].case.device


def _facts(one: "SelfTest") -> dict[str, object]:
    from radialbench.reports.times import ratio, steady_pairs

    facts: dict[str, object] = {
        "case": one.name,
        "tokens": one.case.problem.seq_len,
        "heads": one.case.problem.heads,
        "backend": one.case.backend,
    }
    if one.pair is None:
        return facts | {"reason": one.reason}
    found = ratio(*one.pair)
    ends = [abs(end - 1) for end in found.ends or ()]
    return facts | {
        "median_ms": one.pair[0].median_ms,
        "pairs": len(steady_pairs(*one.pair)),
        "throttled": sum(one.pair[0].throttled),
        "ratio": found.value,
        "low": found.low,
        "high": found.high,
        "noise": max(ends, default=None),
    }


def _line(facts: dict[str, object]) -> str:
    head = f"{facts['case']}: {facts['tokens']:,} tokens on {facts['backend']}"
    if "reason" in facts:
        return f"{head}: not measured: {facts['reason']}"
    told = f"{head}, {facts['median_ms']:.3g} ms: ratio {facts['ratio']:.4f}"
    if facts["noise"] is None:
        return f"{told} from {facts['pairs']} pairs, too few for an interval"
    told += f", 95% interval {facts['low']:.4f} to {facts['high']:.4f} ({facts['pairs']} pairs)"
    throttled = f"; {facts['throttled']} throttled" if facts["throttled"] else ""
    return f"{told}: differences below {facts['noise']:.2%} are noise{throttled}"
