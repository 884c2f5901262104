"""The tree of errors: one root, and errors that survive being copied."""

import copy
import pickle

import pytest

from greenroom.protocol import errors
from greenroom.protocol.errors import (
    GreenroomError,
    InvalidGraph,
    InvalidValue,
    Overloaded,
    StoreInUse,
    ValueTooLarge,
)


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("api", 3, 3, 1.0),
        InvalidValue("$.due", "naive datetime"),
        ValueTooLarge("$", 5, 3),
        StoreInUse("store", 42),
        InvalidGraph(["node 'a' is there twice"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_copying_and_pickling_with_its_fields(error: GreenroomError) -> None:
    """Hosts send errors between processes; a constructor with other arguments must not break."""
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301  own bytes
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_every_error_has_the_one_root_and_a_code_of_its_own() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert all(issubclass(kind, GreenroomError) for kind in kinds)
    codes = [kind.code for kind in kinds]
    assert len(codes) == len(set(codes))
