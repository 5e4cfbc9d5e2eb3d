"""The plug-in of vLLM-Omni: the server's video layers attend under a mask that a variable names.

vLLM-Omni finds `register` by its entry point, in each of its processes. Without the variable it
changes nothing; with it, the host's registry has our backend as `RAINFUSION_ATTN`, the one name
of a block-sparse backend that its configuration knows and that no GPU of NVIDIA runs:

    RADIALBENCH_MASK=radial vllm-omni serve MODEL --omni \
        --diffusion-attention-config.per_role.self.backend RAINFUSION_ATTN
"""

import os

from radialbench.integrations.host_schedule import MASK, SCHEDULE, schedule_of_environment

NAME = "RAINFUSION_ATTN"
BACKEND = "radialbench.integrations.vllm_omni_backend.RadialBackend"


def register() -> None:
    """Register our backend if a variable names a mask or a schedule; may be called again.

    Raises:
        IntegrationError: The mask or the schedule cannot be read, or both are named.
    """
    if not (os.environ.get(MASK) or os.environ.get(SCHEDULE)):
        return
    schedule_of_environment()
    from vllm_omni.diffusion.attention.backends.registry import (
        DiffusionAttentionBackendEnum,
        register_diffusion_backend,
    )

    register_diffusion_backend(DiffusionAttentionBackendEnum[NAME], BACKEND)
