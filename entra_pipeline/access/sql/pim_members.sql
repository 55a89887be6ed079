-- PIM's own list of current memberships repeats group_members; what it has beyond them is added,
-- so that no access is lost if one list is ahead of the other. Its windows are worth keeping.
CREATE TEMP VIEW made_pim_members AS
SELECT g.ix AS group_ix, p.ix AS member_ix, i.state, p.is_group,
       -- Several current instances overlap: the window is open for as long as any of them.
       min(i.start_date_time) AS start_date_time,
       CASE WHEN count(*) = count(i.end_date_time) THEN max(i.end_date_time) END AS end_date_time,
       min(i.source_table) AS source_table, min(i.id) AS source_id
FROM internal.group_pim i
JOIN internal.principals g ON g.id = i.group_id
JOIN internal.principals p ON p.id = i.principal_id
WHERE i.access = 'member'
GROUP BY ALL;
