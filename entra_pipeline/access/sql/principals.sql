-- Principals with their surrogate number `ix`, and memberships in those numbers, sorted both ways.
-- 36-character ids would make memberships ten times as large and their joins several times slower;
-- public names (principals, group_members, grants, …) are views that put the ids back.

-- Every id that another table names as a principal or as a group, with the kind it is said to be.
CREATE TEMP TABLE named_ids AS
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
WHERE id <> ''
GROUP BY ALL;

-- Numbers follow the tables, which are in the order of their ids: no sort, and a stable order.
CREATE TABLE internal.principals AS
SELECT (row_number() OVER () - 1)::INTEGER AS ix, *
FROM (
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
    FROM contacts
);

CREATE TEMP TABLE member_kinds AS
SELECT code::TINYINT AS code, kind FROM (VALUES (1, 'user'), (2, 'group'), (3, 'service_principal'), (4, 'device'),
                      (5, 'contact'), (6, 'application'), (7, 'unknown')) AS k(code, kind);

-- Memberships as read, in numbers where the id is known, with the id where it is not.
CREATE TEMP TABLE members AS
SELECT g.ix AS group_ix, m.ix AS member_ix, m.is_group,
       CASE WHEN g.ix IS NULL THEN r.group_id END AS group_id,
       CASE WHEN m.ix IS NULL THEN r.member_id END AS member_id,
       k.code AS kind_code
FROM internal.read_members r
LEFT JOIN internal.principals m ON m.id = r.member_id
LEFT JOIN internal.principals g ON g.id = r.group_id
LEFT JOIN member_kinds k ON k.kind = r.member_kind;

-- Ids that no table has. Where the table of the kind was read whole they are dangling: `unknown`.
-- Where it was not, the object is merely unread and the kind it is said to be is the best there is.
INSERT INTO internal.principals
WITH dangling AS (
    SELECT id, kind FROM named_ids WHERE id NOT IN (SELECT id FROM internal.principals)
    UNION SELECT group_id, 'group' FROM members WHERE group_id IS NOT NULL
    UNION
    SELECT m.member_id, k.kind FROM members m LEFT JOIN member_kinds k ON k.code = m.kind_code
    WHERE m.member_id IS NOT NULL
),
judged AS (
    SELECT d.id, d.kind, bool_or(d.kind = 'group') OVER (PARTITION BY d.id) AS is_group,
           k.table IS NOT NULL AND coalesce(s.status, 'never') <> 'complete' AS unread
    FROM dangling d
    LEFT JOIN (VALUES ('user', 'users'), ('group', 'groups'),
                      ('service_principal', 'service_principals'),
                      ('device', 'devices'), ('contact', 'contacts')) AS k(kind, "table")
           ON k.kind = d.kind
    LEFT JOIN table_status s ON s."table" = k."table"
)
SELECT ((SELECT count(*) FROM internal.principals)
        + row_number() OVER (ORDER BY j.id) - 1)::INTEGER AS ix,
       j.id, j.kind, d.display_name AS name, NULL AS enabled,
       CASE WHEN d.id IS NOT NULL THEN 'deleted_items' END AS source,
       NULL, NULL, NULL, j.is_group
FROM (
    SELECT id, coalesce(min(kind) FILTER (WHERE unread), 'unknown') AS kind,
           coalesce(bool_or(is_group), false) AS is_group
    FROM judged GROUP BY id
) j
LEFT JOIN (SELECT id, any_value(display_name) AS display_name FROM deleted_items GROUP BY id) d
       ON d.id = j.id;

-- Everybody, as one principal that is never expanded.
INSERT INTO internal.principals
SELECT count(*)::INTEGER, 'all_users', 'all_users', 'All users', NULL, NULL, NULL, NULL, NULL, false
FROM internal.principals;
