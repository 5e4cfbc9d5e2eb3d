"""Ctrl-C, threads, deadlines, kernels interpreted without a GPU, and tests that need one."""

import fcntl
import gc
import os
import shutil
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control has what it starts in the background ignore Ctrl-C, and so would
    # the processes that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on how fast the machine is.
settings.register_profile("radialbench", deadline=None)
settings.load_profile("radialbench")

# One thread a process: the tests share the cores, and small operators wait for slow threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whoever runs the tests may have tuned configurations of their own: there are none in no folder.
os.environ["XDG_DATA_HOME"] = os.devnull

# Has to be set before Triton is imported.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def _alone_on_the_gpu(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let one process at a time run what is marked `gpu`: some of it times, and others disturb.

    Each hands back its memory: what PyTorch keeps for later no other process can have.
    """
    if request.node.get_closest_marker("gpu") is None:
        yield
        return
    # The processes of one run have folders side by side.
    with (tmp_path_factory.getbasetemp().parent / "gpu.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        import torch

        gc.collect()
        torch.cuda.empty_cache()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
