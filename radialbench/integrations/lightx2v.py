"""LightX2V: its layers attend under a mask that a variable names, by its registry of attention.

The host has no plug-ins of other packages, so this starts it, with its own arguments:

    RADIALBENCH_MASK=radial python -m radialbench.integrations.lightx2v --config_json FILE …

and the configuration says `"self_attn_1_type": "radialbench"`. In a script call `register` before
`LightX2VPipeline.create_generator`.
"""

import runpy
from importlib import import_module
from importlib.util import find_spec

from radialbench.errors import IntegrationError
from radialbench.integrations.host_schedule import schedule_of_environment

NAME = "radialbench"
"""Of our attention in the host's registry, and so in its configuration."""


def register() -> None:
    """Add our attention to the host's registry; may be called again.

    Raises:
        IntegrationError: The host is not there, or the mask or the schedule cannot be read.
    """
    schedule_of_environment()
    if find_spec("lightx2v") is None:
        raise IntegrationError("LightX2V is not installed here: install it from its repository")
    registry = import_module("lightx2v.utils.registry_factory").ATTN_WEIGHT_REGISTER
    if NAME not in registry:
        ours = import_module("radialbench.integrations.lightx2v_attention")
        registry.register(ours.RadialWeight, key=NAME)


def main() -> None:
    """Register our attention and start the host."""
    try:
        register()
    except IntegrationError as error:
        raise SystemExit(f"radialbench: {error}") from None
    runpy.run_module("lightx2v.infer", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
