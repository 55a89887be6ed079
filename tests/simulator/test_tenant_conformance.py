"""The conformance check itself: it must see each kind of difference from Microsoft's types."""

from typing import Any

import pytest

from entra_pipeline.simulator.conformance import (
    COLLECTION_TYPES,
    navigations_of,
    properties_of,
    violations,
)
from entra_pipeline.simulator.tenant import COLLECTIONS


def test_every_collection_has_a_type_in_the_file() -> None:
    assert set(COLLECTION_TYPES) == set(COLLECTIONS)
    for type_name in COLLECTION_TYPES.values():
        assert "id" in properties_of(type_name)


def test_properties_and_navigations_of_bases_are_included() -> None:
    assert properties_of("user")["deletedDateTime"] == ("Edm.DateTimeOffset", False, True)
    assert "members" in navigations_of("group")


@pytest.mark.parametrize(
    ("type_name", "obj", "complaint"),
    [
        ("user", {}, "id: missing"),
        ("user", {"id": "a", "shoeSize": 4}, "shoeSize: not a property"),
        ("user", {"id": "a", "accountEnabled": "yes"}, "accountEnabled: 'yes' is not Edm.Boolean"),
        ("user", {"id": "a", "businessPhones": "1"}, "businessPhones: str instead of a list"),
        ("user", {"id": "a", "businessPhones": None}, "businessPhones: null instead of a list"),
        ("user", {"id": "a", "businessPhones": [1]}, "businessPhones[0]: 1 is not Edm.String"),
        ("user", {"id": "a", "createdDateTime": "2024-01-01"}, "createdDateTime: '2024-01-01'"),
        ("user", {"id": "a", "assignedLicenses": [{"sku": 1}]}, "assignedLicenses[0].sku: not a"),
        ("user", {"id": "a", "manager": "b"}, "manager: str instead of related objects"),
        ("appRoleAssignment", {"id": "a", "appRoleId": None}, "appRoleId: null"),
        ("appRoleAssignment", {"id": "a", "appRoleId": "x"}, "appRoleId: 'x' is not Edm.Guid"),
        ("subscribedSku", {"id": "a", "consumedUnits": True}, "consumedUnits: True is not"),
        ("subscribedSku", {"id": "a", "consumedUnits": 2**31}, "is not Edm.Int32"),
        ("conditionalAccessPolicy", {"id": "a", "state": "on"}, "state: 'on' is not a member of"),
        ("directoryObject", {"id": "a", "@odata.type": "#microsoft.graph.pet"}, "unknown type"),
        ("user", {"id": "a", "@odata.type": "#microsoft.graph.group"}, "is not a microsoft"),
    ],
)
def test_a_difference_is_found_and_placed(
    type_name: str, obj: dict[str, Any], complaint: str
) -> None:
    found = list(violations(obj, type_name))
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("type_name", "obj"),
    [
        ("user", {"id": "a"}),
        ("user", {"id": "a", "createdDateTime": "2024-01-01T00:00:00.1234567Z", "@x.y": 1}),
        ("directoryObject", {"id": "a", "@odata.type": "#microsoft.graph.user", "mail": "b"}),
        ("synchronizationJob", {"id": "a", "schedule": {"interval": "PT40M", "state": "Active"}}),
    ],
)
def test_what_graph_may_answer_passes(type_name: str, obj: dict[str, Any]) -> None:
    assert list(violations(obj, type_name)) == []
