-- Principals that a refresh must look at again: those listed or named by a row that changed. Run
-- where unqualified names are the changed rows (schema touched), as they were and as they are.
CREATE TABLE touched.ids AS
SELECT t.id, coalesce(p.ix, n.last + row_number() OVER (PARTITION BY p.ix IS NULL ORDER BY t.id))::INTEGER AS ix,
       p.ix IS NOT NULL AS was_known
FROM (
    SELECT id FROM internal.listed_principals
    UNION SELECT id FROM internal.named_ids
    UNION SELECT id FROM deleted_items
    UNION SELECT group_id FROM group_members
    UNION SELECT member_id FROM group_members
) t
LEFT JOIN internal.principals p ON p.id = t.id
CROSS JOIN (SELECT coalesce(max(ix), -1) AS last FROM internal.principals) n
WHERE t.id IS NOT NULL;
