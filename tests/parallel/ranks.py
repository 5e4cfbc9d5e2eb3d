"""Processes that are the ranks of a group, and keep running between tests."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Call = Callable[..., Any]


class Ranks:
    """Ranks of one machine; a call takes the first of them as its group."""

    def __init__(self, pipes: list[Connection]) -> None:
        self.pipes = pipes

    def run(self, count: int, call: Call, *args: Any) -> list[Any]:
        """Return what `call(group, *args)` returns or raises in each of the first ranks."""
        for pipe in self.pipes[:count]:
            pipe.send((count, call, args))
        answers = []
        for rank, pipe in enumerate(self.pipes[:count]):
            assert pipe.poll(120), f"rank {rank} of {count} does not answer"
            answers.append(pipe.recv())
        for answer in answers:
            if isinstance(answer, str):
                raise AssertionError(answer)
        return answers


@contextmanager
def started(sizes: tuple[int, ...], folder: Path) -> Iterator[Ranks]:
    """Start as many ranks as the largest group has, and end them."""
    # Imports happen once, in the process that the ranks are copies of.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["radialbench.parallel.attention", "tests.parallel.work"])
    pipes, processes = [], []
    for rank in range(max(sizes)):
        ours, theirs = context.Pipe()
        args = (rank, sizes, str(folder / "store"), theirs)
        process = context.Process(target=_serve, args=args, daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield Ranks(pipes)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()


def _serve(rank: int, sizes: tuple[int, ...], store: str, pipe: Connection) -> None:
    import torch
    import torch.distributed as dist

    from radialbench.errors import RadialBenchError

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=max(sizes),
        timeout=timedelta(seconds=60),
    )
    groups = {size: dist.new_group(list(range(size))) for size in sizes}
    while True:
        try:
            count, call, args = pipe.recv()
        except EOFError:
            break
        try:
            answer = call(groups[count], *args)
        except RadialBenchError as error:
            answer = error
        except BaseException:
            answer = traceback.format_exc()
        pipe.send(answer)
    sys.stdout.flush()
    os._exit(0)
