-- Principals with their surrogate number `ix`, and memberships in those numbers, sorted both ways.
-- 36-character ids would make memberships ten times as large and their joins several times slower;
-- public names (principals, group_members, grants, …) are views that put the ids back.

-- Numbers follow the tables, which are in the order of their ids: no sort, and a stable order.
CREATE TABLE internal.principals AS
SELECT (row_number() OVER () - 1)::INTEGER AS ix, * FROM internal.listed_principals;

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

CREATE TEMP TABLE dangling AS
SELECT id, kind FROM internal.named_ids WHERE id NOT IN (SELECT id FROM internal.principals)
UNION SELECT group_id, 'group' FROM members WHERE group_id IS NOT NULL
UNION
SELECT m.member_id, k.kind FROM members m LEFT JOIN member_kinds k ON k.code = m.kind_code
WHERE m.member_id IS NOT NULL;
