"""The recycle bin: users, groups, applications and service principals deleted in the last month."""

from entra_pipeline.simulator.generate.build import Build, new_id
from entra_pipeline.simulator.tenant import KINDS, JsonObject


def add_deleted(build: Build) -> None:
    """Move copies of some objects, with new ids, into the recycle bin."""
    rng = build.rng("deleted")
    for collection, share, most in (
        ("users", 0.006, 200),
        ("groups", 0.008, 80),
        ("applications", 0.03, 20),
        ("service_principals", 0.02, 20),
    ):
        models = list(build.tenant.objects[collection].values())[2:]
        for index in range(min(most, len(models), round(len(models) * share) or 1)):
            model = models[(index * 37) % len(models)]
            if model.get("servicePrincipalType") == "ManagedIdentity":
                continue
            item: JsonObject = {
                **model,
                "@odata.type": f"#microsoft.graph.{KINDS[collection]}",
                "id": new_id(rng),
                "deletedDateTime": build.ago(rng.uniform(0.2, 29.5)),
            }
            if collection == "users":
                # Graph puts the id before the name, so that the name is free again.
                item["userPrincipalName"] = (
                    item["id"].replace("-", "")
                    + f"former{index}@{model['userPrincipalName'].split('@')[-1]}"
                )
                item["displayName"] = f"Former Employee {index + 1}"
                item["mail"] = None
                item["proxyAddresses"] = []
            elif collection == "groups":
                item["displayName"] = f"Closed project {index + 1}"
            else:
                item["appId"] = new_id(rng)
                item["displayName"] = f"Retired application {index + 1}"
            build.add("deleted_items", item)
