"""The loop anybody would write first: list pages, then members in batches of 20, all discarded.

A yardstick for CPU: it parses nothing beyond the next link, types nothing and stores nothing.
Arguments: the Graph URL, a bearer token, workers in flight.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import local

import requests

LISTS = ("users", "groups", "servicePrincipals", "applications", "devices")
# Properties as the product reads them, so that both download objects of the same size.
USERS = (
    "id,userPrincipalName,displayName,givenName,surname,mail,mailNickname,otherMails,"
    "proxyAddresses,accountEnabled,userType,creationType,externalUserState,createdDateTime,"
    "employeeId,employeeType,employeeHireDate,employeeOrgData,department,companyName,jobTitle,"
    "officeLocation,city,state,country,usageLocation,mobilePhone,businessPhones,"
    "preferredLanguage,onPremisesSyncEnabled,onPremisesImmutableId,onPremisesDistinguishedName,"
    "onPremisesDomainName,onPremisesSamAccountName,onPremisesSecurityIdentifier,"
    "onPremisesUserPrincipalName,onPremisesLastSyncDateTime,onPremisesExtensionAttributes,"
    "assignedLicenses,licenseAssignmentStates,passwordPolicies,lastPasswordChangeDateTime,"
    "signInSessionsValidFromDateTime,identities,isResourceAccount,ageGroup,securityIdentifier"
)


def main(base: str, token: str, workers: int) -> dict[str, float]:
    """Download users, groups and every group's members; count the bytes."""
    store = local()
    size = 0
    trips = 0

    def session() -> requests.Session:
        if not hasattr(store, "session"):
            store.session = requests.Session()
            store.session.trust_env = False
            store.session.headers["Authorization"] = f"Bearer {token}"
        kept: requests.Session = store.session
        return kept

    def pages(url: str | None) -> list[str]:
        nonlocal size, trips
        ids = []
        while url:
            answer = session().get(url, timeout=120)
            answer.raise_for_status()
            size += len(answer.content)
            trips += 1
            body = json.loads(answer.content)
            ids += [row["id"] for row in body["value"]]
            url = body.get("@odata.nextLink")
        return ids

    first = {name: f"{base}/v1.0/{name}?$top=999" for name in LISTS}
    first["users"] += f"&$select={USERS}"
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        lists = dict(
            zip(
                LISTS,
                pool.map(lambda name: pages(first[name]), LISTS),
                strict=True,
            )
        )

        def batch(items: list[str]) -> list[str]:
            nonlocal size, trips
            answer = session().post(
                f"{base}/v1.0/$batch",
                json={
                    "requests": [
                        {"id": str(n), "method": "GET", "url": url} for n, url in enumerate(items)
                    ]
                },
                timeout=120,
            )
            answer.raise_for_status()
            size += len(answer.content)
            trips += 1
            links = [r["body"].get("@odata.nextLink") for r in answer.json()["responses"]]
            return [link for link in links if link]

        todo = [f"/groups/{g}/members?$select=id&$top=999" for g in lists["groups"]]
        while todo:
            chunks = [todo[n : n + 20] for n in range(0, len(todo), 20)]
            todo = [link for links in pool.map(batch, chunks) for link in links]
    return {"wall_s": time.perf_counter() - started, "bytes": size, "round_trips": trips}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
