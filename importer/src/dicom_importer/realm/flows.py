"""Authentication flows: compared as a whole, and built anew where they differ."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from dicom_importer.realm.representation import (
    Representation,
    by,
    record,
    records,
    text,
)
from dicom_importer.realm.rest import Keycloak

# What Keycloak logs in by while the flow of the file is being built anew.
BUILT_IN_FLOW = "browser"


@dataclass(frozen=True, slots=True)
class Step:
    """One execution of a flow, flattened; name is an authenticator's or a subflow's."""

    level: int
    name: str
    requirement: str
    config: tuple[tuple[str, str], ...]


def steps(wanted: Representation, alias: str, level: int = 0) -> list[Step]:
    """Flatten a flow of the realm file in the order of its execution."""
    flow = by("alias", records(wanted["authenticationFlows"]))[alias]
    configs = by("alias", records(wanted["authenticatorConfig"]))
    result = []
    for execution in records(flow["authenticationExecutions"]):
        subflow = execution.get("flowAlias")
        config = execution.get("authenticatorConfig")
        result.append(
            Step(
                level=level,
                name=text(execution, "flowAlias" if subflow else "authenticator"),
                requirement=text(execution, "requirement"),
                config=_pairs(configs[str(config)]) if config else (),
            )
        )
        if subflow:
            result += steps(wanted, str(subflow), level + 1)
    return result


def reconcile(keycloak: Keycloak, wanted: Representation, changed: Callable[[str], None]) -> None:
    """Bring every top-level flow of the file to what is wanted."""
    realm = f"/{text(wanted, 'realm')}"
    found = by("alias", keycloak.all(f"{realm}/authentication/flows"))
    for flow in records(wanted["authenticationFlows"]):
        alias = text(flow, "alias")
        if not flow["topLevel"]:
            continue
        if alias in found:
            if _found_steps(keycloak, realm, alias) == steps(wanted, alias):
                continue
            # A flow in use cannot be removed.
            keycloak.put(realm, {"browserFlow": BUILT_IN_FLOW, "realm": realm[1:]})
            keycloak.delete(f"{realm}/authentication/flows/{text(found[alias], 'id')}")
        keycloak.post(
            f"{realm}/authentication/flows",
            {key: flow[key] for key in ("alias", "description", "providerId", "topLevel")},
        )
        _build(keycloak, realm, wanted, alias)
        changed(f"flow {alias}: {'built anew' if alias in found else 'created'}")


def _found_steps(keycloak: Keycloak, realm: str, alias: str) -> list[Step]:
    result = []
    for execution in keycloak.all(_executions(realm, alias)):
        config: tuple[tuple[str, str], ...] = ()
        if identifier := execution.get("authenticationConfig"):
            config = _pairs(keycloak.one(f"{realm}/authentication/config/{identifier}"))
        subflow = execution.get("authenticationFlow")
        result.append(
            Step(
                level=int(str(execution["level"])),
                name=text(execution, "displayName" if subflow else "providerId"),
                requirement=text(execution, "requirement"),
                config=config,
            )
        )
    return result


def _build(keycloak: Keycloak, realm: str, wanted: Representation, alias: str) -> None:
    flows = by("alias", records(wanted["authenticationFlows"]))
    configs = by("alias", records(wanted["authenticatorConfig"]))
    path = _executions(realm, alias)
    for execution in records(flows[alias]["authenticationExecutions"]):
        if subflow := execution.get("flowAlias"):
            below = flows[str(subflow)]
            keycloak.post(
                f"{path}/flow",
                {
                    "alias": subflow,
                    "description": below["description"],
                    "type": below["providerId"],
                },
            )
        else:
            keycloak.post(f"{path}/execution", {"provider": execution["authenticator"]})
        # The new one comes last on its level and starts as disabled.
        added = [item for item in keycloak.all(path) if item["level"] == 0][-1]
        keycloak.put(path, {**added, "requirement": execution["requirement"]})
        if config := execution.get("authenticatorConfig"):
            keycloak.post(
                f"{realm}/authentication/executions/{text(added, 'id')}/config",
                {**configs[str(config)]},
            )
        if subflow:
            _build(keycloak, realm, wanted, str(subflow))


def _executions(realm: str, alias: str) -> str:
    return f"{realm}/authentication/flows/{quote(alias)}/executions"


def _pairs(config: Representation) -> tuple[tuple[str, str], ...]:
    values = record(config["config"])
    return tuple(sorted((key, text(values, key)) for key in values))
