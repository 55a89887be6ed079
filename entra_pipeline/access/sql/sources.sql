-- What the directory tables say, one view per subject: Entra's rules live here.
-- Names of tables are without a schema on purpose: the same views serve all rows of the tables, when
-- a warehouse is built, and some of them, when it is refreshed. Dropped once it is finished.

-- Who is in the directory, as principals.
CREATE VIEW internal.listed_principals AS
SELECT id,
       CASE WHEN lower(user_type) = 'guest' THEN 'guest' ELSE 'user' END AS kind,
       coalesce(display_name, user_principal_name, mail) AS name,
       account_enabled AS enabled, 'users' AS source,
       user_principal_name, mail, NULL::VARCHAR AS app_id, false AS is_group
FROM users
UNION ALL
SELECT id, 'group', display_name, NULL, 'groups', NULL, mail, NULL, true FROM groups
UNION ALL
SELECT id,
       CASE WHEN lower(service_principal_type) = 'managedidentity' THEN 'managed_identity'
            ELSE 'service_principal' END,
       display_name, account_enabled, 'service_principals', NULL, NULL, app_id, false
FROM service_principals
UNION ALL
SELECT id, 'device', display_name, account_enabled, 'devices', NULL, NULL, NULL, false
FROM devices
UNION ALL
SELECT id, 'contact', coalesce(display_name, mail), NULL, 'contacts', NULL, mail, NULL, false
FROM contacts;

-- Every id that another table names as a principal or as a group, with the kind it is said to be:
-- as often as it is named.
CREATE VIEW internal.all_named_ids AS
SELECT id, kind FROM (
    SELECT owner_id AS id, owner_kind AS kind FROM group_owners
    UNION ALL SELECT group_id, 'group' FROM group_owners
    UNION ALL SELECT principal_id, NULL FROM role_assignments
    UNION ALL SELECT principal_id, NULL FROM role_assignment_schedule_instances
    UNION ALL SELECT principal_id, NULL FROM role_eligibility_schedule_instances
    UNION ALL SELECT principal_id, NULL FROM group_eligibility_schedule_instances
    UNION ALL SELECT group_id, 'group' FROM group_eligibility_schedule_instances
    UNION ALL SELECT principal_id, NULL FROM group_assignment_schedule_instances
    UNION ALL SELECT group_id, 'group' FROM group_assignment_schedule_instances
    UNION ALL SELECT member_id, member_kind FROM administrative_unit_members
    UNION ALL SELECT owner_id, owner_kind FROM application_owners
    UNION ALL SELECT owner_id, owner_kind FROM service_principal_owners
    UNION ALL SELECT owner_id, owner_kind FROM device_owners
    UNION ALL
    SELECT principal_id, CASE principal_type
        WHEN 'User' THEN 'user' WHEN 'Group' THEN 'group'
        WHEN 'ServicePrincipal' THEN 'service_principal' END
    FROM app_role_assignments
    UNION ALL SELECT client_id, 'service_principal' FROM oauth2_permission_grants
    UNION ALL SELECT principal_id, 'user' FROM oauth2_permission_grants
    UNION ALL SELECT user_id, 'user' FROM license_assignments
    UNION ALL SELECT source_group_id, 'group' FROM license_assignments
)
WHERE id <> '';

CREATE VIEW internal.named_ids AS SELECT id, kind FROM internal.all_named_ids GROUP BY ALL;

-- PIM instances that count: held directly (the others are derived from a group's) and not expired
-- when the table was read. Several current instances of one hold overlap into one window.
CREATE VIEW internal.group_pim AS
SELECT i.*
FROM (
    SELECT id, group_id, principal_id, lower(access_id) AS access, 0::TINYINT AS state,
           member_type, start_date_time, end_date_time,
           'group_assignment_schedule_instances' AS source_table
    FROM group_assignment_schedule_instances
    UNION ALL
    SELECT id, group_id, principal_id, lower(access_id), 1,
           member_type, start_date_time, end_date_time, 'group_eligibility_schedule_instances'
    FROM group_eligibility_schedule_instances
) i
JOIN internal.reading_times t ON t."table" = i.source_table
WHERE coalesce(lower(i.member_type), 'direct') = 'direct'
  AND (i.end_date_time IS NULL OR i.end_date_time > t.as_of);

CREATE VIEW internal.role_pim AS
SELECT i.principal_id, i.role_definition_id, i.scope, i.state, i.source_table,
       min(i.id) AS source_id, min(i.start_date_time) AS start_date_time,
       CASE WHEN count(*) = count(i.end_date_time) THEN max(i.end_date_time) END AS end_date_time
FROM (
    SELECT id, principal_id, role_definition_id,
           coalesce(directory_scope_id, app_scope_id, '/') AS scope, 0::TINYINT AS state,
           member_type, start_date_time, end_date_time,
           'role_assignment_schedule_instances' AS source_table
    FROM role_assignment_schedule_instances
    UNION ALL
    SELECT id, principal_id, role_definition_id,
           coalesce(directory_scope_id, app_scope_id, '/'), 1,
           member_type, start_date_time, end_date_time, 'role_eligibility_schedule_instances'
    FROM role_eligibility_schedule_instances
) i
JOIN internal.reading_times t ON t."table" = i.source_table
WHERE coalesce(lower(i.member_type), 'direct') = 'direct'
  AND (i.end_date_time IS NULL OR i.end_date_time > t.as_of)
GROUP BY i.principal_id, i.role_definition_id, i.scope, i.state, i.source_table;

-- Licences of users that are in force. A row in state Error or Disabled gives the user nothing.
CREATE VIEW internal.licensed AS
SELECT user_id, sku_id, nullif(source_group_id, '') AS group_id,
       coalesce(lower(state), 'active') NOT IN ('error', 'disabled') AS in_force
FROM license_assignments;

-- Every direct hold but plain membership of groups.
-- reach: 0 none, 1 direct members of a group that holds it, 2 deep, 3 licensed direct members.
CREATE VIEW internal.direct_holds AS
-- Ownership never passes on; groups cannot own.
SELECT 'group' AS kind, o.group_id AS resource_id, 'owner' AS permission, NULL::VARCHAR AS scope,
       o.owner_id AS principal_id, 0::TINYINT AS state, 0::TINYINT AS reach,
       p.start_date_time, p.end_date_time,
       'group_owners' AS source_table, o.group_id || '/' || o.owner_id AS source_id,
       NULL::VARCHAR AS on_behalf_of
FROM group_owners o
LEFT JOIN (
    SELECT group_id, principal_id, min(start_date_time) AS start_date_time,
           CASE WHEN count(*) = count(end_date_time) THEN max(end_date_time) END AS end_date_time
    FROM internal.group_pim WHERE access = 'owner' AND state = 0 GROUP BY ALL
) p ON p.group_id = o.group_id AND p.principal_id = o.owner_id
UNION ALL
SELECT 'group', p.group_id, 'owner', NULL, p.principal_id, p.state, 0,
       p.start_date_time, p.end_date_time, p.source_table, p.id, NULL
FROM internal.group_pim p
WHERE p.access = 'owner' AND (p.state = 1 OR NOT EXISTS (
    SELECT 1 FROM group_owners o WHERE o.group_id = p.group_id AND o.owner_id = p.principal_id
))
UNION ALL
SELECT 'app', service_principal_id, 'owner', NULL, owner_id, 0, 0, NULL, NULL,
       'service_principal_owners', service_principal_id || '/' || owner_id, NULL
FROM service_principal_owners
UNION ALL
SELECT 'application', application_id, 'owner', NULL, owner_id, 0, 0, NULL, NULL,
       'application_owners', application_id || '/' || owner_id, NULL
FROM application_owners
UNION ALL
SELECT 'device', device_id, 'owner', NULL, owner_id, 0, 0, NULL, NULL,
       'device_owners', device_id || '/' || owner_id, NULL
FROM device_owners
UNION ALL
-- A group in an administrative unit does not bring its members into it.
SELECT 'unit', unit_id, 'member', NULL, member_id, 0, 0, NULL, NULL,
       'administrative_unit_members', unit_id || '/' || member_id, NULL
FROM administrative_unit_members
UNION ALL
-- Directory roles. PIM repeats active assignments (assigned and activated ones): role_assignments
-- counts, PIM adds the window, and what only PIM lists is not lost.
SELECT 'role', a.role_definition_id, NULL, a.scope, a.principal_id, 0, 2,
       p.start_date_time, p.end_date_time, 'role_assignments', a.id, NULL
FROM (
    SELECT principal_id, role_definition_id,
           coalesce(directory_scope_id, app_scope_id, '/') AS scope, min(id) AS id
    FROM role_assignments GROUP BY ALL
) a
LEFT JOIN internal.role_pim p
       ON p.state = 0 AND p.principal_id = a.principal_id
      AND p.role_definition_id = a.role_definition_id AND p.scope = a.scope
UNION ALL
SELECT 'role', p.role_definition_id, NULL, p.scope, p.principal_id, p.state, 2,
       p.start_date_time, p.end_date_time, p.source_table, p.source_id, NULL
FROM internal.role_pim p
WHERE p.state = 1 OR NOT EXISTS (
    SELECT 1 FROM role_assignments a
    WHERE a.principal_id = p.principal_id AND a.role_definition_id = p.role_definition_id
      AND coalesce(a.directory_scope_id, a.app_scope_id, '/') = p.scope
)
UNION ALL
-- App roles: nested groups are not honoured, so a group brings them to its direct members only.
SELECT 'app', resource_id, coalesce(app_role_id, '00000000-0000-0000-0000-000000000000'), NULL,
       principal_id, 0, 1, NULL, NULL, 'app_role_assignments', id, NULL
FROM app_role_assignments
WHERE deleted_date_time IS NULL
UNION ALL
-- Where no assignment is required, everybody has default access. Nobody signs in to a managed
-- identity, though it carries the same flag.
SELECT 'app', id, '00000000-0000-0000-0000-000000000000', NULL, 'all_users', 0, 0, NULL, NULL,
       'service_principals', id, NULL
FROM service_principals
WHERE NOT app_role_assignment_required
  AND coalesce(lower(service_principal_type), '') <> 'managedidentity'
UNION ALL
-- Consent: the client holds the permission, on behalf of one user or (null) of all.
SELECT 'delegated', resource_id, s.scope, NULL, client_id, 0, 0, NULL, NULL,
       'oauth2_permission_grants', id,
       CASE WHEN lower(consent_type) = 'allprincipals' THEN NULL ELSE principal_id END
FROM oauth2_permission_grants,
     -- Graph repeats a scope within one consent now and then.
     unnest(list_distinct(coalesce(scopes, string_split(trim(scope), ' ')))) AS s(scope)
WHERE s.scope <> ''
UNION ALL
SELECT 'license', sku_id, NULL, NULL, user_id, 0, 0, NULL, NULL,
       'license_assignments', user_id || '/' || sku_id || '/', NULL
FROM internal.licensed
WHERE group_id IS NULL AND in_force
UNION ALL
-- A group's licences: from the group, and from users who say that they have one by it.
SELECT 'license', sku_id, NULL, NULL, group_id, 0, 3, NULL, NULL,
       min(source_table), group_id || '/' || sku_id, NULL
FROM (
    SELECT id AS group_id, l.sku_id, 'groups' AS source_table
    FROM groups, unnest(assigned_licenses) AS u(l)
    UNION ALL
    SELECT group_id, sku_id, 'license_assignments' FROM internal.licensed WHERE group_id IS NOT NULL
)
GROUP BY group_id, sku_id;
