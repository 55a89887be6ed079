-- The public names, with the ids put back. Columns are those that the registry declares.

CREATE VIEW principals AS
SELECT id, kind, name, enabled, source, user_principal_name, mail, app_id
FROM internal.principals;

CREATE VIEW group_members AS
SELECT g.id AS group_id, m.id AS member_id, k.kind AS member_kind
FROM internal.members_by_group r
LEFT JOIN internal.member_kinds k ON k.code = r.kind_code
JOIN internal.principals g ON g.ix = r.group_ix
JOIN internal.principals m ON m.ix = r.member_ix
WHERE r.is_read;

CREATE VIEW entitlements AS
SELECT entitlement_id, resource_id, resource_kind, slug, display_name, purpose, tier, scope,
       grantable_to
FROM internal.entitlements;

CREATE VIEW grants AS
SELECT e.entitlement_id, p.id AS principal_id,
       CASE g.state WHEN 0 THEN 'active' ELSE 'eligible' END AS state, e.scope,
       g.start_date_time, g.end_date_time, g.source_table, g.source_id,
       CASE g.reach WHEN 0 THEN 'none' WHEN 2 THEN 'deep' ELSE 'direct_members' END AS reach,
       o.id AS on_behalf_of
FROM internal.grants g
JOIN internal.entitlements e ON e.eix = g.eix
JOIN internal.principals p ON p.ix = g.pix
LEFT JOIN internal.principals o ON o.ix = g.on_behalf_of_ix
UNION ALL
SELECT 'group:' || g.id || ':member', p.id,
       CASE m.state WHEN 0 THEN 'active' ELSE 'eligible' END, NULL,
       w.start_date_time, w.end_date_time,
       CASE WHEN m.is_read THEN 'group_members' ELSE w.source_table END,
       CASE WHEN m.is_read THEN g.id || '/' || p.id ELSE w.source_id END,
       'deep', NULL
FROM internal.members_by_group m
JOIN internal.principals g ON g.ix = m.group_ix
JOIN internal.principals p ON p.ix = m.member_ix
LEFT JOIN internal.membership_windows w
       ON w.group_ix = m.group_ix AND w.member_ix = m.member_ix AND w.state = m.state;

CREATE VIEW group_closure AS
SELECT g.id AS group_id, m.id AS member_group_id, c.depth, c.on_cycle
FROM internal.closure c
JOIN internal.principals g ON g.ix = c.group_ix
JOIN internal.principals m ON m.ix = c.member_ix
WHERE c.state = 0;

CREATE VIEW entitlement_counts AS
SELECT e.entitlement_id, c.direct_active, c.direct_eligible, c.effective_active,
       c.effective_eligible
FROM internal.counts c
JOIN internal.entitlements e ON e.eix = c.eix;
