-- The questions: macros and a view with ids, names and states spelt out.

CREATE MACRO access_of(principal) AS TABLE
SELECT e.entitlement_id, e.resource_id, e.resource_kind, e.resource_name,
       e.display_name AS name, e.purpose, e.tier,
       CASE a.state WHEN 0 THEN 'active' ELSE 'eligible' END AS state, e.scope,
       a.direct, a.depth, a.paths
FROM internal.reach_of(
    (SELECT ix FROM internal.principals WHERE id = principal),
    (SELECT is_group FROM internal.principals WHERE id = principal),
    (SELECT kind IN ('user', 'guest') FROM internal.principals WHERE id = principal)
) a
JOIN internal.entitlements e ON e.eix = a.eix
ORDER BY e.entitlement_id, a.state;

CREATE MACRO who_can(entitlement) AS TABLE
SELECT p.id AS principal_id, p.kind, p.name, p.enabled,
       CASE a.state WHEN 0 THEN 'active' ELSE 'eligible' END AS state, a.direct, a.depth, a.paths
FROM internal.effective(
    (SELECT eix FROM internal.entitlements WHERE entitlement_id = entitlement),
    (SELECT eix FROM internal.entitlements WHERE entitlement_id = entitlement)
) a
JOIN internal.principals p ON p.ix = a.pix
ORDER BY a.pix, a.state;

-- For questions about the whole tenant: to be counted, filtered and joined. Its full expansion is
-- large; `export effective_grants` streams it.
CREATE VIEW effective_grants AS
SELECT e.entitlement_id, p.id AS principal_id, p.kind AS principal_kind,
       CASE a.state WHEN 0 THEN 'active' ELSE 'eligible' END AS state, e.scope,
       a.direct, a.depth, a.paths
FROM internal.effective(0, 2147483647) a
JOIN internal.entitlements e ON e.eix = a.eix
JOIN internal.principals p ON p.ix = a.pix;
