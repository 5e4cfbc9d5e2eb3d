"""What the backends of our own kernels share: a table uploaded, and the operator on it."""

from torch import Tensor

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import check_inputs, check_plan
from radialbench.kernels.defaults import config_reasons
from radialbench.kernels.device_table import upload
from radialbench.kernels.op import block_sparse_attention
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


def plan_ours(
    kernel: str,
    reasons: list[str],
    problem: Problem,
    table: BlockTable,
    config: KernelConfig,
    *,
    device: str,
) -> Run:
    """Plan attention on one of our kernels.

    Args:
        kernel: Its name, `hopper` or `triton`.
        reasons: Why it cannot run the problem in these blocks, so far.
        problem: What is computed.
        table: What attends to what.
        config: How.
        device: Where.

    Raises:
        BackendError: There are reasons, or the table or the configuration does not fit.
    """
    reasons = reasons + config_reasons(kernel, config, problem.head_dim)
    check_plan(kernel, reasons, problem, table, config)
    uploaded = upload([table], device)

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        check_inputs(problem, q, k, v)
        return block_sparse_attention(
            *(q.detach(), k.detach(), v.detach(), uploaded),
            sm_scale=problem.scale,
            config=config,
            backend=kernel,
            return_lse=True,
        )

    return run
