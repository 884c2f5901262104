"""Ids of checkpoints, and the settings that have no meaning for a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol.checkpoint import DEFAULT_CHECKPOINT_CONFIG, CheckpointConfig
from greenroom.protocol.checkpoints import NUMBER_MAX, SEQ_MAX, CheckpointKey, CheckpointType
from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.ids import validate_id

KEYS = st.builds(
    CheckpointKey,
    st.integers(0, SEQ_MAX),
    st.sampled_from(CheckpointType),
    st.integers(0, NUMBER_MAX),
)


@given(one=KEYS, other=KEYS)
def test_ids_sort_as_positions_do_and_say_what_they_name(
    one: CheckpointKey, other: CheckpointKey
) -> None:
    """B13: unique and monotonic."""
    assert (str(one) < str(other)) is (one < other)
    assert CheckpointKey.parse(str(one)) == one
    validate_id("checkpoint", str(one))


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "cp_node_complete_classify_20260101_120000",
        "cp_1_pause_0000",
        "cp_0000000001_pause_00001",
        "cp_0000000001_lost_0000",
        "cp_9999999999_pause_0000",
        "cp_0000000001_pause_0000\n",
        "cp_\u0660000000001_pause_0000",
    ],
)
def test_what_is_no_id_is_none(text: object) -> None:
    assert CheckpointKey.parse(text) is None


def test_what_has_no_meaning_for_a_name_is_refused_unless_at_its_default() -> None:
    assert DEFAULT_CHECKPOINT_CONFIG.unsupported() == []
    for field in ("async_checkpoint", "include_full_memory", "include_metrics"):
        (error,) = CheckpointConfig(**{field: False}).unsupported()
        assert error.name == f"checkpoint_config: {field}"


@pytest.mark.parametrize(
    "wrong", [{"keep_last_n_nodes": 0}, {"keep_last_n_nodes": True}, {"max_age_days": 10**6}]
)
def test_limits_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidConfig, match=next(iter(wrong))):
        CheckpointConfig(**wrong)
