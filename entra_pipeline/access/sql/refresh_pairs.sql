-- Pairs of resource and principal whose holds a refresh must make anew: those that a row which
-- changed is about. Run where unqualified names are the changed rows (schema touched).
CREATE TABLE touched.pairs AS
SELECT resource_id, principal_id FROM internal.direct_holds
-- What has run out, or is no longer in force, is no hold any more but was one.
UNION SELECT group_id, principal_id FROM group_assignment_schedule_instances
UNION SELECT group_id, principal_id FROM group_eligibility_schedule_instances
UNION SELECT role_definition_id, principal_id FROM role_assignment_schedule_instances
UNION SELECT role_definition_id, principal_id FROM role_eligibility_schedule_instances
UNION SELECT sku_id, user_id FROM license_assignments
UNION SELECT sku_id, source_group_id FROM license_assignments WHERE source_group_id <> '';

CREATE TABLE touched.numbers AS
SELECT DISTINCT e.eix, coalesce(i.ix, p.ix) AS pix
FROM touched.pairs t
JOIN internal.entitlements e ON e.resource_id = t.resource_id
LEFT JOIN touched.ids i ON i.id = t.principal_id
LEFT JOIN internal.principals p ON p.id = t.principal_id;
