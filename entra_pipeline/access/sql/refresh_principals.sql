-- Principals and memberships anew where rows changed; numbers that are known stay.

-- Memberships as read now, of each pair that changed.
CREATE TEMP TABLE read_pairs AS
SELECT g.ix AS group_ix, m.ix AS member_ix, k.code AS kind_code, t.gone
FROM touched.group_members t
JOIN touched.ids g ON g.id = t.group_id
JOIN touched.ids m ON m.id = t.member_id
LEFT JOIN internal.member_kinds k ON k.kind = t.member_kind;

CREATE TABLE touched.member_pairs AS
SELECT group_ix, member_ix FROM read_pairs
UNION
SELECT g.ix, m.ix
FROM (
    SELECT group_id, principal_id FROM touched.group_assignment_schedule_instances
    UNION SELECT group_id, principal_id FROM touched.group_eligibility_schedule_instances
) t
JOIN touched.ids g ON g.id = t.group_id
JOIN touched.ids m ON m.id = t.principal_id;

CREATE TEMP TABLE still_read AS
SELECT b.group_ix, b.member_ix, b.kind_code
FROM internal.members_by_group b
SEMI JOIN touched.member_pairs t ON t.group_ix = b.group_ix AND t.member_ix = b.member_ix
ANTI JOIN read_pairs r ON r.group_ix = b.group_ix AND r.member_ix = b.member_ix
WHERE b.is_read
UNION ALL
SELECT group_ix, member_ix, kind_code FROM read_pairs WHERE NOT gone;

DELETE FROM internal.members_by_group b USING touched.member_pairs t
WHERE t.group_ix = b.group_ix AND t.member_ix = b.member_ix;
DELETE FROM internal.members_by_member b USING touched.member_pairs t
WHERE t.group_ix = b.group_ix AND t.member_ix = b.member_ix;
DELETE FROM internal.membership_windows b USING touched.member_pairs t
WHERE t.group_ix = b.group_ix AND t.member_ix = b.member_ix;

-- Principals: listed, or named by something that is still there.
CREATE TEMP TABLE listed AS
SELECT l.* FROM internal.listed_principals l SEMI JOIN touched.ids t ON t.id = l.id;

CREATE TEMP TABLE missing AS
SELECT t.id, t.ix FROM touched.ids t ANTI JOIN listed l ON l.id = t.id;

CREATE TEMP TABLE dangling AS
SELECT n.id, n.kind FROM internal.all_named_ids n SEMI JOIN missing t ON t.id = n.id
UNION
SELECT t.id, 'group'
FROM missing t
SEMI JOIN (
    SELECT group_ix FROM internal.members_by_group WHERE is_read
    UNION ALL SELECT group_ix FROM still_read
) m ON m.group_ix = t.ix
UNION
SELECT t.id, k.kind
FROM (
    SELECT member_ix, kind_code FROM internal.members_by_group WHERE is_read
    UNION ALL SELECT member_ix, kind_code FROM still_read
) m
JOIN missing t ON t.ix = m.member_ix
LEFT JOIN internal.member_kinds k ON k.code = m.kind_code;
