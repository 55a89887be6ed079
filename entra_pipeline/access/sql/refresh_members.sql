-- The rows of touched principals replaced, and their memberships put back (see refresh_principals).
CREATE TEMP TABLE were_groups AS
SELECT p.ix, p.is_group, p.kind FROM internal.principals p SEMI JOIN touched.ids t ON t.ix = p.ix;

DELETE FROM internal.principals p USING touched.ids t WHERE t.ix = p.ix;
INSERT INTO internal.principals
SELECT t.ix, n.* FROM (FROM listed UNION ALL FROM unlisted) n JOIN touched.ids t ON t.id = n.id;

CREATE TABLE touched.other_kinds AS
SELECT t.ix
FROM touched.ids t
LEFT JOIN were_groups w ON w.ix = t.ix
LEFT JOIN internal.principals p ON p.ix = t.ix
WHERE p.is_group IS DISTINCT FROM w.is_group OR p.kind IS DISTINCT FROM w.kind;

-- What a principal is may have come to light only now, for memberships that did not change too.
UPDATE internal.members_by_group SET is_group = n.is_group
FROM (
    SELECT p.ix, p.is_group
    FROM internal.principals p JOIN were_groups w ON w.ix = p.ix AND w.is_group <> p.is_group
) n
WHERE n.ix = members_by_group.member_ix;

CREATE TEMP TABLE pim_members AS
SELECT p.* FROM made_pim_members p
SEMI JOIN touched.member_pairs t ON t.group_ix = p.group_ix AND t.member_ix = p.member_ix;

CREATE TEMP TABLE new_members AS
SELECT r.group_ix, r.member_ix, 0::TINYINT AS state, p.is_group, true AS is_read, r.kind_code
FROM still_read r JOIN internal.principals p ON p.ix = r.member_ix
UNION ALL
SELECT p.group_ix, p.member_ix, p.state, p.is_group, false, NULL
FROM pim_members p
WHERE p.state = 1 OR NOT EXISTS (
    SELECT 1 FROM still_read r WHERE r.group_ix = p.group_ix AND r.member_ix = p.member_ix
);
INSERT INTO internal.members_by_group SELECT * FROM new_members ORDER BY group_ix;
INSERT INTO internal.members_by_member
SELECT member_ix, group_ix, state FROM new_members ORDER BY member_ix, group_ix, state;
INSERT INTO internal.membership_windows
SELECT group_ix, member_ix, state, start_date_time, end_date_time, source_table, source_id
FROM pim_members;

DROP TABLE internal.nesting;
