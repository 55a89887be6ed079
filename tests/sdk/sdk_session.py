"""Microsoft's Python SDK talking to the simulator, in the SDK's own environment.

Run by ``tests/sdk/test_microsoft_sdk.py`` with the Python of that environment and the ready
file's path; prints one JSON document of what the SDK saw. It imports nothing of this project:
whatever works here works because the simulator answers as Microsoft's client expects.
"""

import asyncio
import json
import ssl
import sys
from pathlib import Path

import httpx
import msal
from azure.identity.aio import ClientSecretCredential
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.groups.groups_request_builder import GroupsRequestBuilder
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.users.delta.delta_request_builder import DeltaRequestBuilder
from msgraph.generated.users.users_request_builder import UsersRequestBuilder
from msgraph_core import GraphClientFactory
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem
from msgraph_core.tasks.page_iterator import PageIterator


def client(ready: dict) -> tuple[GraphServiceClient, GraphRequestAdapter, ClientSecretCredential]:
    """The SDK's client as its documentation builds it for a cloud of one's own."""
    context = ssl.create_default_context(cafile=ready["ca_file"])
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
        client=httpx.AsyncClient(verify=context, timeout=60)
    )
    http.base_url = f"{ready['graph_url']}/v1.0"
    adapter = GraphRequestAdapter(provider, http)
    adapter.base_url = f"{ready['graph_url']}/v1.0"
    return GraphServiceClient(request_adapter=adapter), adapter, credential


async def session(ready: dict) -> dict:
    """Users by page iterator, members, a delta round, a batch of 20, an error."""
    graph, adapter, credential = client(ready)
    seen: dict = {}

    users: list = []
    first = await graph.users.get(
        request_configuration=UsersRequestBuilder.UsersRequestBuilderGetRequestConfiguration(
            query_parameters=UsersRequestBuilder.UsersRequestBuilderGetQueryParameters(
                select=["id", "displayName", "userPrincipalName", "accountEnabled"], top=50
            )
        )
    )
    iterator = PageIterator(first, adapter)

    def keep(user) -> bool:
        users.append(user)
        return True

    await iterator.iterate(keep)
    seen["users"] = sorted(u.id for u in users)
    seen["enabled_is_bool"] = all(isinstance(u.account_enabled, bool) for u in users)

    groups = await graph.groups.get(
        request_configuration=GroupsRequestBuilder.GroupsRequestBuilderGetRequestConfiguration(
            query_parameters=GroupsRequestBuilder.GroupsRequestBuilderGetQueryParameters(
                select=["id"], top=999
            )
        )
    )
    members = {}
    for group in groups.value[:20]:
        page = await graph.groups.by_group_id(group.id).members.get()
        members[group.id] = sorted((m.id, m.odata_type) for m in page.value or [])
    seen["members"] = members

    delta: list = []
    page = await graph.users.delta.get(
        request_configuration=DeltaRequestBuilder.DeltaRequestBuilderGetRequestConfiguration(
            query_parameters=DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(
                select=["displayName"]
            )
        )
    )
    while True:
        delta += [u.id for u in page.value or []]
        if page.odata_next_link is None:
            break
        page = await graph.users.delta.with_url(page.odata_next_link).get()
    seen["delta"] = sorted(set(delta))
    seen["delta_link"] = page.odata_delta_link is not None
    quiet = await graph.users.delta.with_url(page.odata_delta_link).get()
    seen["quiet_round"] = len(quiet.value or [])

    batch = BatchRequestContent()
    for user in users[:20]:
        item = BatchRequestItem(
            graph.users.by_user_id(user.id).to_get_request_information(), id=user.id
        )
        batch.add_request(item.id, item)
    answer = await graph.batch.post(batch)
    seen["batch"] = (
        sorted(
            (r.id, r.status) for r in (answer.responses if hasattr(answer, "responses") else answer)
        )
        if not isinstance(getattr(answer, "responses", None), dict)
        else sorted((k, r.status) for k, r in answer.responses.items())
    )

    try:
        await graph.users.by_user_id("00000000-0000-4000-8000-000000000000").get()
        seen["error"] = None
    except ODataError as error:
        seen["error"] = {
            "status": error.response_status_code,
            "code": error.error.code,
            "request_id": error.error.inner_error.request_id,
        }
    await credential.close()

    app = msal.ConfidentialClientApplication(
        ready["client_id"],
        client_credential=ready["client_secret"],
        authority=f"{ready['authority_url']}/{ready['tenant_id']}",
        instance_discovery=False,
        verify=ready["ca_file"],
    )
    token = app.acquire_token_for_client([f"{ready['graph_url']}/.default"])
    seen["msal"] = {"type": token.get("token_type"), "error": token.get("error")}
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(session(json.loads(Path(sys.argv[1]).read_text())))))
