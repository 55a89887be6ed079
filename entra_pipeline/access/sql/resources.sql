-- Resources: what the directory has, and what is only named by a hold (the table `named`).
CREATE TEMP VIEW made_resources AS
WITH present AS (
    SELECT id, 'group' AS kind, display_name AS name, 'groups' AS source FROM groups
    UNION ALL SELECT id, 'app', display_name, 'service_principals' FROM service_principals
    UNION ALL SELECT id, 'application', display_name, 'applications' FROM applications
    UNION ALL SELECT id, 'role', display_name, 'role_definitions' FROM role_definitions
    UNION ALL SELECT sku_id, 'license', sku_part_number, 'subscribed_skus' FROM subscribed_skus
    UNION ALL SELECT id, 'unit', display_name, 'administrative_units' FROM administrative_units
    UNION ALL SELECT id, 'device', display_name, 'devices' FROM devices
)
SELECT * FROM present
UNION ALL
SELECT resource_id, min(CASE kind WHEN 'delegated' THEN 'app' ELSE kind END), NULL, NULL
FROM named
WHERE resource_id NOT IN (SELECT id FROM present WHERE id IS NOT NULL)
GROUP BY resource_id;
