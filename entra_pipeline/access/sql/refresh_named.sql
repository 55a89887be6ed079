-- Holds of the touched pairs as they are now, and the permissions that anybody holds on a touched
-- resource: those, and those of the grants that are left. Run where unqualified names are `part`.
CREATE TABLE touched.holds AS
SELECT h.* FROM internal.direct_holds h SEMI JOIN touched.pairs t
    ON t.resource_id = h.resource_id AND t.principal_id = h.principal_id;

DELETE FROM internal.grants g USING touched.numbers t WHERE t.eix = g.eix AND t.pix = g.pix;
DELETE FROM internal.holds_by_entitlement g USING touched.numbers t
WHERE t.eix = g.eix AND t.pix = g.pix;
DELETE FROM internal.holds_by_principal g USING touched.numbers t
WHERE t.eix = g.eix AND t.pix = g.pix;
DELETE FROM internal.licensed_by_entitlement g USING touched.numbers t
WHERE t.eix = g.eix AND t.pix = g.user_ix;
DELETE FROM internal.licensed_by_principal g USING touched.numbers t
WHERE t.eix = g.eix AND t.pix = g.user_ix;

CREATE TEMP TABLE named AS
SELECT kind, resource_id, permission, scope, NULL::INTEGER AS group_ix FROM touched.holds
UNION
SELECT e.kind, e.resource_id, e.permission, e.scope, NULL
FROM internal.entitlements e
SEMI JOIN touched.resources t ON t.id = e.resource_id
SEMI JOIN internal.grants g ON g.eix = e.eix
UNION ALL
SELECT 'group', p.id, 'member', NULL, p.ix
FROM internal.principals p
SEMI JOIN touched.resources t ON t.id = p.id
SEMI JOIN internal.members_by_group m ON m.group_ix = p.ix
WHERE p.source IS DISTINCT FROM 'groups';
