import pytest

from radialbench.reports.page.overview import headlines
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import summarize
from tests.reports.factory import made

SWEEP = ("Fx30x52 h1d128f32", 0)


def test_each_mask_has_its_fastest_kernel_at_its_longest_length() -> None:
    records = [
        *(made(DENSE, frames, samples=(8.0 * frames,)) for frames in (3, 5)),
        made("sta", 3, samples=(0.1,), backend="a"),
        made("sta", 5, samples=(10.0,), backend="a", share=0.1),
        made("sta", 5, samples=(8.0,), backend="b", share=0.1),
        made("radial", 5, samples=(4.0,), share=0.2),
    ]
    found = headlines(summarize(records))
    assert list(found) == [SWEEP]
    radial, sta = found[SWEEP]
    assert (radial.row.mask, radial.row.speedup) == ("radial", 10.0)
    assert (sta.row.backend, sta.row.tokens, sta.row.speedup) == ("b", 5 * 1560, 5.0)
    assert radial.ideal == pytest.approx(5.0)
    assert radial.reached == pytest.approx(2.0)
    assert sta.even is not None
    assert (sta.even.backend, sta.even.shortest) == ("b", 5 * 1560)


def test_without_dense_there_is_none() -> None:
    assert headlines(summarize([made()])) == {}
    assert headlines(summarize([made(DENSE)])) == {}
