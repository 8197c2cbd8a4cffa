"""The login flow of the realm file, flattened as Keycloak lists it."""

import pytest
from dicom_importer.realm.flows import Step, steps
from dicom_importer.realm.representation import record

FLOWS = record(
    {
        "authenticationFlows": [
            {
                "alias": "top",
                "authenticationExecutions": [
                    {"authenticator": "cookie", "requirement": "ALTERNATIVE"},
                    {"flowAlias": "below", "requirement": "CONDITIONAL"},
                    {"authenticator": "last", "requirement": "REQUIRED"},
                ],
            },
            {
                "alias": "below",
                "authenticationExecutions": [
                    {
                        "authenticator": "role",
                        "authenticatorConfig": "is admin",
                        "requirement": "REQUIRED",
                    },
                ],
            },
        ],
        "authenticatorConfig": [{"alias": "is admin", "config": {"b": "2", "a": "1"}}],
    }
)


def test_a_flow_is_flattened_depth_first_with_levels_and_configurations() -> None:
    assert steps(FLOWS, "top") == [
        Step(0, "cookie", "ALTERNATIVE", ()),
        Step(0, "below", "CONDITIONAL", ()),
        Step(1, "role", "REQUIRED", (("a", "1"), ("b", "2"))),
        Step(0, "last", "REQUIRED", ()),
    ]


def test_a_flow_that_is_named_but_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        steps(FLOWS, "nowhere")
