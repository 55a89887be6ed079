"""Small rules about what Graph's values mean."""

import string
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entra_pipeline.msgraph import Written, errors
from entra_pipeline.provisioning.actions.base import judged
from entra_pipeline.provisioning.actions.new_groups import numbered, suffix_of
from entra_pipeline.provisioning.actions.pim import SHELVES, end_of, long_enough, moment
from entra_pipeline.provisioning.actions.profiles import same
from entra_pipeline.provisioning.applying import together
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.sealing import LENGTH, new_password
from entra_pipeline.provisioning.states import OperationState as O


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ("a", "a", True),
        ("a", "A", False),
        (None, "", True),
        ("", None, True),
        (None, "a", False),
        (False, None, False),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, None, False),
        (["a"], ["a"], True),
        ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", True),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", False),
    ],
)
def test_a_property_is_as_wanted_in_what_it_means(
    wanted: object, found: object, expected: bool
) -> None:
    assert same(wanted, found) is expected


def test_the_first_free_number_is_told() -> None:
    name = "Ann.Lee@contoso.example"
    assert suffix_of(name, []) == 0
    assert suffix_of(name, ["ann.leed@contoso.example"]) == 0
    taken = ["ANN.LEE@contoso.example", "ann.lee2@contoso.example", "ann.lee4@contoso.example"]
    assert numbered(name, suffix_of(name, taken)) == "Ann.Lee3@contoso.example"


def test_passwords_have_every_class_and_no_sign_that_is_taken_for_another() -> None:
    for _ in range(200):
        password = new_password()
        assert len(password) == LENGTH
        for signs in (string.ascii_lowercase, string.ascii_uppercase, string.digits):
            assert set(signs) & set(password)
        assert set(password) - set(string.ascii_letters + string.digits)
        assert not set("lIO01") & set(password)


def test_what_never_ends_is_long_enough_and_an_exact_end_is_just_that_one() -> None:
    soon, late = "2026-11-23T12:00:00.1234567Z", "2026-11-24T12:00:00Z"
    held = [{"endDateTime": soon}]
    assert end_of([*held, {"endDateTime": late}]) == moment(late)
    assert end_of([*held, {"endDateTime": None}]) is None
    assert moment(late) - moment(soon) < timedelta(days=1)
    for wanted, exact, plain, expected in (
        (soon, False, False, True),
        (late, False, False, False),
        (None, False, False, False),
        (soon, True, False, True),
    ):
        arguments = {"ends": wanted, "exact": exact}
        assert long_enough(held, plain=plain, arguments=arguments) is expected
    forever = [{"endDateTime": None}]
    assert long_enough(forever, plain=False, arguments={"ends": soon})
    assert not long_enough(forever, plain=False, arguments={"ends": soon, "exact": True})
    assert not long_enough([], plain=False, arguments={"ends": soon})
    assert long_enough([], plain=True, arguments={"ends": soon})


def test_holds_by_a_group_and_activations_are_not_the_principals_own() -> None:
    shelf = SHELVES["role", "pim_active"]
    row = {"roleDefinitionId": "r", "directoryScopeId": "/", "principalId": "p"}
    rows = [
        {**row, "memberType": "Group", "assignmentType": "Assigned"},
        {**row, "memberType": "Direct", "assignmentType": "Activated"},
        {**row, "memberType": "Direct", "assignmentType": "Assigned", "directoryScopeId": "/x"},
        own := {**row, "memberType": "Direct", "assignmentType": "Assigned"},
    ]
    assert shelf.held(rows, "r", "/") == [own]


PARTS = st.lists(
    st.sampled_from([O.WRITTEN, O.ALREADY, O.RETRYABLE, O.REFUSED, O.AMBIGUOUS]),
    min_size=1,
    max_size=6,
)


@given(PARTS)
def test_several_writes_are_done_only_when_all_are(states: list[O]) -> None:
    outcome = together([Outcome(each, soon=each is O.RETRYABLE) for each in states])
    done = all(each in (O.WRITTEN, O.ALREADY) for each in states)
    assert (outcome.state in (O.WRITTEN, O.ALREADY)) is done
    if O.AMBIGUOUS in states:
        assert outcome.state is O.AMBIGUOUS
    elif O.REFUSED in states and O.WRITTEN not in states:
        # Nothing moves any more: it is not tried for ever.
        assert outcome.state is O.REFUSED
    assert not outcome.soon or O.WRITTEN in states


@pytest.mark.parametrize(
    ("error", "happened", "state"),
    [
        (errors.AuthenticationError, False, O.RETRYABLE),
        (errors.ConnectionFailedError, False, O.RETRYABLE),
        (errors.ConnectionFailedError, None, O.AMBIGUOUS),
        (errors.ServerError, None, O.AMBIGUOUS),
        (errors.ThrottledError, False, O.RETRYABLE),
        (errors.ForbiddenError, False, O.REFUSED),
        (errors.BadRequestError, False, O.REFUSED),
    ],
)
def test_only_what_graph_says_of_the_write_itself_ends_it(
    error: type[errors.GraphError], happened: bool | None, state: O
) -> None:
    written = Written("a", 0, b"", error("SomeCode", detail="said"), happened)
    assert judged(written).state is state
    assert judged(written, advice={"said": "do that"}).detail == str(written.error) + (
        "; do that" if state is O.REFUSED else ""
    )
