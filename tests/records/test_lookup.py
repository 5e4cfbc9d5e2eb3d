"""The rule of find: this very problem, else the nearest, else the default; and it says which."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialbench.records.lookup import FARTHEST, MATCHED, distance, nearest_config
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningRecord
from tests.records.tuned import KEY, TUNED, kept, tuned

PLAIN = KernelConfig(64, 64)
NOW: dict[str, Any] = {"kernel": "abc", "versions": {"triton": "3.7.1"}}


def config(stages: int) -> KernelConfig:
    """A configuration to tell records apart by."""
    return KernelConfig(128, 64, 8, stages)


def test_the_record_of_this_very_problem() -> None:
    near = tuned(seq_len=40000, config=config(1))
    found = nearest_config([near, TUNED], KEY, **NOW)
    assert (found.config, found.source, found.record, found.stale) == (
        *(TUNED.config, "tuned", TUNED, False),
    )
    assert found.reason == "tuned for this problem, there 1.25 times as fast as the default"


def test_of_two_records_of_one_problem_the_first_counts() -> None:
    assert nearest_config([tuned(config=config(1)), TUNED], KEY).config == config(1)


def test_the_nearest_one_is_transferred() -> None:
    far = tuned(frames=9, tokens_per_frame=3600, config=config(1))
    near = tuned(frames=9, heads=40, config=config(2))
    found = nearest_config([far, near], replace(KEY, heads=40), **NOW)
    assert (found.config, found.source, found.record) == (config(2), "transferred", near)
    assert found.reason == (
        "tuned for this mask on 9 × 1,560 tokens and 40 heads, there 1.25 times as fast as the "
        "default"
    )


def test_the_same_mask_comes_before_a_nearer_one() -> None:
    key = replace(KEY, frames=22)
    other = tuned(mask_fingerprint="d1ff", label="sta(tile_t=6)", config=config(1))
    reason = nearest_config([other], key).reason
    assert reason.startswith("tuned for sta(tile_t=6) on 21 × 1,560 tokens and")
    assert nearest_config([other, tuned(frames=81, config=config(2))], key).config == config(2)


def test_distance_counts_doublings_equally_on_every_axis() -> None:
    shapes = {"frames": 42, "tokens_per_frame": 3120, "heads": 24, "batch": 2}
    for name, value in shapes.items():
        one = tuned(**{name: value}, config=config(1))
        more = tuned(**{name: value + 1}, config=config(2))
        less = tuned(**{name: value - 1}, config=config(3))
        assert nearest_config([more, one], KEY).config == config(1), name
        if name != "batch":
            assert nearest_config([one, less], KEY).config == config(3), name
    # Batch and heads are one axis: twice the sequences with half the heads is as much work.
    same_size = tuned(batch=2, heads=6)
    assert nearest_config([tuned(heads=13, config=config(1)), same_size], KEY).record == same_size


def test_query_heads_per_key_head_are_an_axis() -> None:
    grouped = replace(KEY, kv_heads=3)
    near = tuned(kv_heads=6, config=config(2))
    found = nearest_config([TUNED, near], grouped)
    assert (found.config, found.source) == (config(2), "transferred")
    assert distance(KEY, grouped) == 2
    # As many query heads per key head are as near as it gets, however many there are.
    assert distance(replace(KEY, kv_heads=3), replace(KEY, heads=24, kv_heads=6)) == 1


def test_of_two_as_near_the_first_counts() -> None:
    pair = [tuned(frames=42, config=config(1)), tuned(heads=24, config=config(2))]
    assert nearest_config(pair, KEY).config == config(1)
    assert nearest_config(pair[::-1], KEY).config == config(2)


def test_nothing_is_transferred_from_far_away() -> None:
    key = replace(KEY, tokens_per_frame=KEY.tokens_per_frame * 2 ** int(FARTHEST))
    assert nearest_config([TUNED], key).source == "transferred"
    found = nearest_config([TUNED], replace(key, frames=KEY.frames + 1), default=PLAIN)
    assert (found.config, found.source, found.record) == (PLAIN, "default", None)


OTHERS = {
    "backend": "hopper",
    "device": "Other GPU",
    "head_dim": 64,
    "dtype": "float16",
    "direction": "backward",
}


@pytest.mark.parametrize("name", MATCHED)
def test_a_record_of_another_kind_says_nothing(name: str) -> None:
    found = nearest_config([tuned(**{name: OTHERS[name]})], KEY, default=PLAIN)
    assert (found.config, found.source, found.record) == (PLAIN, "default", None)
    assert found.reason == (
        "nothing near was tuned for triton on Example GPU with head_dim 128, bfloat16, forward"
    )


def test_where_nothing_beat_the_default_it_stays() -> None:
    found = nearest_config([kept()], KEY, default=PLAIN)
    assert (found.config, found.source, found.record) == (PLAIN, "default", kept())
    assert found.reason == "tuning this problem found nothing faster than the default"
    found = nearest_config([kept(), tuned(frames=81)], replace(KEY, frames=20), default=PLAIN)
    assert (found.source, found.record) == ("default", kept())
    assert found.reason.startswith("tuning this mask on 21 × 1,560 tokens and 12 heads found")


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"kernel": "old"}, "the kernel's source has changed"),
        ({"versions": {"triton": "3.6.0"}}, "triton was 3.6.0 and is 3.7.1"),
    ],
)
def test_a_stale_record_is_used_only_if_asked(changes: dict[str, Any], moved: str) -> None:
    stale = tuned(**changes)
    found = nearest_config([stale], KEY, default=PLAIN, **NOW)
    assert (found.config, found.source, found.record, found.stale) == (
        PLAIN,
        "default",
        None,
        True,
    )
    assert found.reason == (
        f"the record of this problem is stale, {moved}: tune again, or ask with strict=False"
    )
    found = nearest_config([stale], KEY, default=PLAIN, strict=False, **NOW)
    assert (found.config, found.source, found.stale) == (TUNED.config, "tuned", True)
    assert found.reason.endswith(f"; stale: {moved}")


def test_what_is_not_stale_comes_first() -> None:
    stale, near = tuned(kernel="old"), tuned(frames=20, config=config(1))
    for strict in (True, False):
        found = nearest_config([stale, near], KEY, strict=strict, **NOW)
        assert (found.config, found.source, found.stale) == (config(1), "transferred", False)


def test_a_configuration_that_cannot_run_is_passed_over() -> None:
    def feasible(asked: KernelConfig) -> list[str]:
        return ["too many stages"] if asked.num_stages == 3 else []

    near = tuned(frames=20, config=config(2))
    assert nearest_config([TUNED, near], KEY, feasible=feasible).record == near
    found = nearest_config([TUNED, tuned(frames=20)], KEY, feasible=feasible, default=PLAIN)
    assert (found.config, found.source) == (PLAIN, "default")
    assert found.reason == "the record of this problem cannot run here: too many stages"


def test_without_records() -> None:
    assert nearest_config([], KEY, default=PLAIN).source == "default"


SMALL = st.integers(1, 3)
RECORD = st.builds(
    tuned,
    mask_fingerprint=st.sampled_from(["f00d", "d1ff"]),
    frames=SMALL,
    heads=SMALL,
    head_dim=st.sampled_from([64, 128]),
    kernel=st.sampled_from(["abc", "old"]),
    config=st.builds(config, SMALL),
)


@given(st.lists(RECORD, max_size=6), RECORD.map(lambda record: record.key), st.booleans())
def test_whatever_there_is_the_answer_says_where_it_is_from(
    records: list[TuningRecord], key: Any, strict: bool
) -> None:
    found = nearest_config(records, key, default=PLAIN, strict=strict, **NOW)
    fresh = [record for record in records if record.kernel == "abc"]
    exact = [record for record in fresh if record.key == key]
    if exact:
        assert (found.source, found.record) == ("tuned", exact[0])
    if found.source == "default":
        assert (found.config, found.record) == (PLAIN, None)
        assert not any(record.key.head_dim == key.head_dim for record in fresh)
        return
    assert found.record is not None
    assert found.config == found.record.config
    assert (found.source == "tuned") == (found.record.key == key)
    assert found.stale == (found.record.kernel != "abc")
    assert not (found.stale and (strict or any(r.key.head_dim == key.head_dim for r in fresh)))
    assert found.record.key.head_dim == key.head_dim
