-- The permissions on resources: what the directory offers, and what a hold names though the
-- directory no longer offers it (the table `named`). Resources are there already.

-- What a scope of roles is called: the object that its last part names.
CREATE TEMP TABLE scopes AS
SELECT s.scope, coalesce(r.name, p.name, s.scope) AS name
FROM (
    SELECT scope, split_part(scope, '/', -1) AS id
    FROM (SELECT DISTINCT scope FROM named WHERE kind = 'role' AND scope <> '/')
) s
LEFT JOIN resources r ON r.id = s.id
LEFT JOIN internal.principals p ON p.id = s.id;

-- Every entitlement by its parts; `label` is its name within the resource.
CREATE TEMP TABLE parts AS
WITH offered AS (
    SELECT 'group' AS kind, g.id AS resource_id, 'member' AS permission, NULL AS scope,
           'member' AS slug, 'member' AS label, NULL::TINYINT AS tier,
           CASE WHEN is_assignable_to_role THEN ['user', 'service_principal', 'device']
                ELSE ['user', 'group', 'service_principal', 'device', 'contact'] END
               AS grantable_to,
           p.ix AS group_ix
    FROM groups g JOIN internal.principals p ON p.id = g.id AND p.source = 'groups'
    UNION ALL
    SELECT 'group', id, 'owner', NULL, 'owner', 'owner', NULL, ['user', 'service_principal'], NULL
    FROM groups
    UNION ALL
    SELECT 'app', resource_id, id, NULL, coalesce(nullif(value, ''), id),
           -- Application permissions are known by their value, roles of people by their name.
           CASE WHEN list_contains(allowed_member_types, 'User')
                THEN coalesce(nullif(display_name, ''), nullif(value, ''), id)
                ELSE coalesce(nullif(value, ''), nullif(display_name, ''), id) END,
           tier,
           list_concat(
               CASE WHEN list_contains(allowed_member_types, 'User') THEN ['user', 'group']
                    ELSE [] END,
               CASE WHEN list_contains(allowed_member_types, 'Application')
                    THEN ['service_principal'] ELSE [] END),
           NULL
    FROM app_roles
    UNION ALL
    SELECT 'app', id, '00000000-0000-0000-0000-000000000000', NULL, 'default-access',
           'default access', NULL, ['user', 'group', 'service_principal'], NULL
    FROM service_principals
    WHERE coalesce(lower(service_principal_type), '') <> 'managedidentity'
    UNION ALL
    SELECT 'app', id, 'owner', NULL, 'owner', 'owner', NULL, ['user', 'service_principal'], NULL
    FROM service_principals
    UNION ALL
    SELECT 'application', id, 'owner', NULL, 'owner', 'owner (registration)', NULL,
           ['user', 'service_principal'], NULL
    FROM applications
    UNION ALL
    SELECT 'delegated', resource_id, value, NULL, value, value || ' (delegated)',
           max(tier), ['service_principal'], NULL
    FROM delegated_permissions
    WHERE value <> '' GROUP BY resource_id, value
    UNION ALL
    SELECT 'role', id, NULL, '/', display_name, NULL, tier,
           ['user', 'group', 'service_principal'], NULL
    FROM role_definitions
    UNION ALL
    SELECT 'license', sku_id, NULL, NULL, sku_part_number, NULL, NULL, ['user', 'group'], NULL
    FROM subscribed_skus
    UNION ALL
    SELECT 'unit', id, 'member', NULL, 'member', 'member', NULL, ['user', 'group', 'device'], NULL
    FROM administrative_units
    UNION ALL
    SELECT 'device', id, 'owner', NULL, 'owner', 'owner', NULL, ['user', 'service_principal'], NULL
    FROM devices
)
SELECT * FROM offered
UNION ALL
-- Only named: a scope other than the tenant, an object that is gone, a role that was removed.
SELECT n.kind, n.resource_id, n.permission, n.scope, coalesce(r.display_name, n.permission), NULL,
       r.tier,
       CASE n.kind
           WHEN 'role' THEN ['user', 'group', 'service_principal']
           WHEN 'license' THEN ['user', 'group']
           WHEN 'delegated' THEN ['service_principal'] END,
       n.group_ix
FROM named n
LEFT JOIN role_definitions r ON n.kind = 'role' AND r.id = n.resource_id
WHERE NOT EXISTS (
    SELECT 1 FROM offered o
    WHERE o.kind = n.kind AND o.resource_id = n.resource_id
      AND coalesce(o.permission, '') = coalesce(n.permission, '')
      AND coalesce(o.scope, '') = coalesce(n.scope, '')
);

CREATE TEMP VIEW made_entitlements AS
SELECT CASE p.kind
           WHEN 'role' THEN 'role:' || p.resource_id || '@' || p.scope
           WHEN 'license' THEN 'license:' || p.resource_id
           ELSE p.kind || ':' || p.resource_id || ':' || p.permission END AS entitlement_id,
       p.resource_id,
       CASE p.kind WHEN 'delegated' THEN 'app' ELSE p.kind END AS resource_kind,
       r.name AS resource_name,
       coalesce(trim(regexp_replace(p.slug, '[^A-Za-z0-9._-]+', '-', 'g'), '-'), p.kind) AS slug,
       CASE
           WHEN p.kind = 'license' THEN coalesce(r.name, p.resource_id)
           WHEN p.kind = 'role' AND p.scope = '/' THEN coalesce(r.name, p.resource_id)
           WHEN p.kind = 'role' THEN coalesce(r.name, p.resource_id) || ' @ ' || s.name
           ELSE coalesce(r.name, p.resource_id) || ': '
               || coalesce(p.label, p.permission
                   || CASE p.kind WHEN 'delegated' THEN ' (delegated)' ELSE '' END)
       END AS display_name,
       CASE WHEN p.permission = 'owner' THEN 'ownership'
            WHEN p.kind = 'delegated' THEN 'permission'
            WHEN p.kind = 'app' AND p.grantable_to = ['service_principal'] THEN 'permission'
            ELSE 'assignment' END AS purpose,
       p.tier, p.scope, coalesce(p.grantable_to, []) AS grantable_to, p.group_ix,
       p.kind, p.permission
FROM parts p
LEFT JOIN resources r ON r.id = p.resource_id
LEFT JOIN scopes s ON p.kind = 'role' AND s.scope = p.scope;
