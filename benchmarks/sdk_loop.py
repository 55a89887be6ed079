"""Microsoft's Python SDK reading users, groups and every group's members, in its own environment.

Arguments: the simulator's ready file, how many member reads are in flight (1 = sequential), and
after how many seconds no further page is asked for.
"""

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path

import httpx
from azure.identity.aio import ClientSecretCredential
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.groups.groups_request_builder import GroupsRequestBuilder
from msgraph.generated.groups.item.members.members_request_builder import MembersRequestBuilder
from msgraph.generated.users.users_request_builder import UsersRequestBuilder
from msgraph_core import GraphClientFactory

Users = UsersRequestBuilder.UsersRequestBuilderGetRequestConfiguration
UsersQuery = UsersRequestBuilder.UsersRequestBuilderGetQueryParameters
Groups = GroupsRequestBuilder.GroupsRequestBuilderGetRequestConfiguration
GroupsQuery = GroupsRequestBuilder.GroupsRequestBuilderGetQueryParameters
Members = MembersRequestBuilder.MembersRequestBuilderGetRequestConfiguration
MembersQuery = MembersRequestBuilder.MembersRequestBuilderGetQueryParameters


async def main(ready: dict, in_flight: int, limit_s: float) -> dict:
    credential = ClientSecretCredential(
        ready["tenant_id"],
        ready["client_id"],
        ready["client_secret"],
        authority=ready["authority_url"],
        disable_instance_discovery=True,
        connection_verify=ready["ca_file"],
    )
    host = ready["graph_url"].removeprefix("https://")
    provider = AzureIdentityAuthenticationProvider(
        credential,
        scopes=[f"{ready['graph_url']}/.default"],
        allowed_hosts=[host.split(":")[0], host],
    )
    http = GraphClientFactory.create_with_default_middleware(
        client=httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=ready["ca_file"]), timeout=120
        )
    )
    http.base_url = f"{ready['graph_url']}/v1.0"
    adapter = GraphRequestAdapter(provider, http)
    adapter.base_url = f"{ready['graph_url']}/v1.0"
    graph = GraphServiceClient(request_adapter=adapter)

    started = time.perf_counter()
    rows = 0

    async def whole(builder, configuration) -> list:
        nonlocal rows
        page = await builder.get(request_configuration=configuration)
        found = list(page.value or [])
        while page.odata_next_link and time.perf_counter() - started < limit_s:
            page = await builder.with_url(page.odata_next_link).get()
            found += page.value or []
        rows += len(found)
        return found

    await whole(graph.users, Users(query_parameters=UsersQuery(top=999)))
    groups = await whole(graph.groups, Groups(query_parameters=GroupsQuery(select=["id"], top=999)))
    gate = asyncio.Semaphore(in_flight)
    read = 0

    async def members(group_id: str) -> None:
        nonlocal read
        async with gate:
            if time.perf_counter() - started < limit_s:
                await whole(
                    graph.groups.by_group_id(group_id).members,
                    Members(query_parameters=MembersQuery(select=["id"], top=999)),
                )
                read += 1

    if in_flight == 1:
        for group in groups:
            await members(group.id)
    else:
        await asyncio.gather(*(members(group.id) for group in groups))
    await credential.close()
    return {"wall_s": time.perf_counter() - started, "rows": rows, "groups": read}


if __name__ == "__main__":
    document = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(asyncio.run(main(document, int(sys.argv[2]), float(sys.argv[3])))))
