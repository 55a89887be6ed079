-- Memberships in numbers, sorted both ways. State 0 is active, 1 is eligible (PIM for groups).

CREATE TEMP TABLE pim_members AS SELECT * FROM made_pim_members;

-- Read memberships of what no table lists: numbers by what names them.
CREATE TEMP TABLE dangling_members AS
SELECT coalesce(m.group_ix, g.ix) AS group_ix, coalesce(m.member_ix, p.ix) AS member_ix,
       coalesce(m.is_group, p.is_group) AS is_group, m.kind_code
FROM (SELECT * FROM members WHERE group_ix IS NULL OR member_ix IS NULL) m
LEFT JOIN internal.principals p ON p.id = m.member_id
LEFT JOIN internal.principals g ON g.id = m.group_id;

-- Order within a group is left as read: by id, and so by number but for kinds.
CREATE TABLE internal.members_by_group AS
SELECT group_ix, member_ix, state, is_group, is_read, kind_code
FROM (
    SELECT group_ix, member_ix, 0::TINYINT AS state, is_group, true AS is_read, kind_code
    FROM members WHERE group_ix IS NOT NULL AND member_ix IS NOT NULL
    UNION ALL
    SELECT group_ix, member_ix, 0, is_group, true, kind_code FROM dangling_members
    UNION ALL
    SELECT group_ix, member_ix, state, is_group, false, NULL
    FROM pim_members p
    WHERE state = 1 OR (NOT EXISTS (
        SELECT 1 FROM members m WHERE m.group_ix = p.group_ix AND m.member_ix = p.member_ix
    ) AND NOT EXISTS (
        SELECT 1 FROM dangling_members m
        WHERE m.group_ix = p.group_ix AND m.member_ix = p.member_ix
    ))
)
ORDER BY group_ix;

CREATE TABLE internal.member_kinds AS SELECT * FROM member_kinds;

CREATE TABLE internal.members_by_member AS
SELECT member_ix, group_ix, state FROM internal.members_by_group
ORDER BY member_ix, group_ix, state;

CREATE TABLE internal.membership_windows AS
SELECT group_ix, member_ix, state, start_date_time, end_date_time, source_table, source_id
FROM pim_members;
