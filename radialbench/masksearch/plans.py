"""Points of a front as head plans, ready to run."""

from collections.abc import Sequence

from radialbench.maskgen.language.heads import HeadPlan
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import plan_of_heads
from radialbench.masksearch.groups import Group
from radialbench.records.front import FrontPoint
from radialbench.reports.front import describe_point


def head_plans(
    point: FrontPoint, masks: Sequence[MaskSpec], groups: Sequence[Group]
) -> dict[str, HeadPlan]:
    """Return the head plan of each layer and step that has masks of its own.

    Heads that the inputs lack are dense.

    Args:
        point: The point.
        masks: The mask of each group.
        groups: The groups.

    Returns:
        The plans by their names: `07`, or `07-layer03-step010` where masks differ by layer and
        step.
    """
    found: dict[str, dict[int, MaskSpec]] = {}
    for group, mask in zip(groups, masks, strict=True):
        name = f"{point.number:02}"
        name += "" if group.layer is None else f"-layer{group.layer:02}"
        name += "" if group.step is None else f"-step{group.step:03}"
        found.setdefault(name, {}).update(dict.fromkeys(group.heads, mask))
    about = describe_point(point)
    return {name: plan_of_heads(f"plan-{name}", own, about) for name, own in found.items()}
