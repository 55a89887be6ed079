-- The permissions that somebody holds, whether or not the directory still offers them.
CREATE TEMP TABLE named AS
SELECT DISTINCT kind, resource_id, permission, scope, NULL::INTEGER AS group_ix
FROM internal.direct_holds
UNION ALL
SELECT 'group', p.id, 'member', NULL, p.ix
FROM (SELECT DISTINCT group_ix FROM internal.members_by_group) m
JOIN internal.principals p ON p.ix = m.group_ix
WHERE p.source IS DISTINCT FROM 'groups';
