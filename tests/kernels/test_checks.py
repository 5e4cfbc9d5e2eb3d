"""What a run must return, and where it can run."""

import numpy as np
import pytest
import torch

from radialbench.errors import BackendError
from radialbench.kernels.arch import find_device
from radialbench.kernels.checks import check_result
from tests.kernels.tables import problem_of, table_of

TABLE = table_of(np.ones((20, 20), np.bool_), 16, 16)
PROBLEM = problem_of(TABLE, heads=2, head_dim=4)
OUT, LSE = torch.zeros(1, 2, 20, 4), torch.zeros(1, 2, 20)


def test_a_result_of_the_right_shapes_is_passed_on() -> None:
    assert check_result(PROBLEM, TABLE, (OUT, LSE)) == (OUT, LSE)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, r"must return \(out, lse\), got NoneType"),
        (OUT, r"must return \(out, lse\), got Tensor"),
        ((OUT, None), r"must return \(out, lse\), got tuple"),
        ((OUT, LSE, LSE), r"must return \(out, lse\), got tuple"),
        (
            (OUT[:, :1], LSE),
            r"out must be torch.float32 \[1, 2, 20, 4\], got torch.float32 \[1, 1, 20, 4\]",
        ),
        ((OUT.half(), LSE), r"out must be torch.float32 .* got torch.float16"),
        ((OUT, LSE[..., None]), r"lse must be torch.float32 \[1, 2, 20\], got .*\[1, 2, 20, 1\]"),
        ((OUT, LSE.double()), r"lse must be .* got torch.float64"),
    ],
)
def test_any_other_result_is_refused(result: object, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        check_result(PROBLEM, TABLE, result)


@pytest.mark.parametrize(
    ("wanted", "present", "device"),
    [("cpu", True, "cpu"), ("cpu", False, "cpu"), ("auto", True, "cuda"), ("auto", False, "cpu")],
)
def test_auto_is_a_gpu_where_there_is_one(
    wanted: str, present: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    assert find_device(wanted) == device


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="asks for device 'cuda', and PyTorch finds none"):
        find_device("cuda")
