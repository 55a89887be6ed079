-- Resources whose entitlements a refresh must look at again.
CREATE TABLE touched.resources AS
WITH of_rows AS (
    SELECT id FROM touched.groups
    UNION SELECT id FROM touched.service_principals
    UNION SELECT id FROM touched.applications
    UNION SELECT id FROM touched.role_definitions
    UNION SELECT sku_id FROM touched.subscribed_skus
    UNION SELECT id FROM touched.administrative_units
    UNION SELECT id FROM touched.devices
    UNION SELECT resource_id FROM touched.app_roles
    UNION SELECT resource_id FROM touched.delegated_permissions
    UNION SELECT resource_id FROM touched.pairs
    -- Groups that memberships or nothing but memberships name.
    UNION SELECT id FROM touched.ids
)
SELECT id FROM of_rows WHERE id IS NOT NULL
-- A role at a scope is called by what the scope names.
UNION
SELECT e.resource_id
FROM internal.entitlements e SEMI JOIN of_rows t ON t.id = split_part(e.scope, '/', -1)
WHERE e.kind = 'role' AND e.scope <> '/';
