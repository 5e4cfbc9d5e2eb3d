"""JUnit XML: a test suite for each metric, a test for each case."""

from xml.etree import ElementTree as Tree

from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict
from radialbench.reports.text import printable

TAGS = {
    Outcome.REGRESSED: "failure",
    Outcome.MISSING: "error",
    Outcome.INCONCLUSIVE: "skipped",
    Outcome.NEW: "skipped",
}


def render(result: CheckResult) -> str:
    """Render regressions as failures, missing cases as errors, inconclusive ones as skipped."""
    root = Tree.Element("testsuites", {"name": "radialbench check"} | _counts(result.verdicts))
    for metric in dict.fromkeys(one.metric for one in result.verdicts):
        verdicts = tuple(one for one in result.verdicts if one.metric == metric)
        suite = Tree.SubElement(root, "testsuite", {"name": metric} | _counts(verdicts))
        for one in verdicts:
            case = Tree.SubElement(
                *(suite, "testcase"), classname=f"radialbench.{metric}", name=printable(one.case)
            )
            reason = f"{one.outcome}: {printable(one.reason)}"
            if one.outcome in TAGS:
                Tree.SubElement(case, TAGS[one.outcome], message=reason)
            else:
                Tree.SubElement(case, "system-out").text = reason
    Tree.indent(root)
    return Tree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(verdicts: tuple[Verdict, ...]) -> dict[str, str]:
    tags = [TAGS.get(one.outcome) for one in verdicts]
    return {
        "tests": str(len(verdicts)),
        "failures": str(tags.count("failure")),
        "errors": str(tags.count("error")),
        "skipped": str(tags.count("skipped")),
    }
