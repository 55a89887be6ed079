-- Memberships in numbers, sorted both ways. State 0 is active, 1 is eligible (PIM for groups).

-- PIM's own list of current memberships repeats group_members; what it has beyond them is added,
-- so that no access is lost if one list is ahead of the other. Its windows are worth keeping.
CREATE TEMP TABLE pim_members AS
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

-- Order within a group is left as read: by id, and so by number but for kinds.
CREATE TABLE internal.members_by_group AS
SELECT group_ix, member_ix, state, is_group, is_read, kind_code
FROM (
    SELECT group_ix, member_ix, 0::TINYINT AS state, is_group, true AS is_read, kind_code
    FROM members WHERE group_ix IS NOT NULL AND member_ix IS NOT NULL
    UNION ALL
    SELECT coalesce(m.group_ix, g.ix), coalesce(m.member_ix, p.ix), 0,
           coalesce(m.is_group, p.is_group), true, m.kind_code
    FROM (SELECT * FROM members WHERE group_ix IS NULL OR member_ix IS NULL) m
    LEFT JOIN internal.principals p ON p.id = m.member_id
    LEFT JOIN internal.principals g ON g.id = m.group_id
    UNION ALL
    SELECT group_ix, member_ix, state, is_group, false, NULL
    FROM pim_members p
    WHERE state = 1 OR NOT EXISTS (
        SELECT 1 FROM members m WHERE m.group_ix = p.group_ix AND m.member_ix = p.member_ix
    )
)
ORDER BY group_ix;

CREATE TABLE internal.member_kinds AS SELECT * FROM member_kinds;

CREATE TABLE internal.members_by_member AS
SELECT member_ix, group_ix, state FROM internal.members_by_group
ORDER BY member_ix, group_ix, state;

CREATE TABLE internal.membership_windows AS
SELECT group_ix, member_ix, state, start_date_time, end_date_time, source_table, source_id
FROM pim_members;

-- Groups in groups: what closure and paths walk on. A group that is its own member says nothing.
CREATE TABLE internal.nesting AS
SELECT member_ix, group_ix, state FROM internal.members_by_group
WHERE is_group AND member_ix <> group_ix
ORDER BY member_ix, group_ix, state;
