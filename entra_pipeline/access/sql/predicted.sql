-- A warehouse that is like the attached one, `base`, but for some facts: views over its tables
-- without what is taken and with what is given, under the names and numbers that the questions know.
-- `side` stands for the database that gets them, `given` for its facts in numbers.
CREATE SCHEMA side.internal;

CREATE TABLE side.internal.taken_members AS
SELECT DISTINCT f.group_ix, f.pix AS member_ix, f.state FROM given f
WHERE NOT f.adds AND f.group_ix IS NOT NULL AND f.pix IS NOT NULL
UNION
SELECT m.group_ix, m.member_ix, m.state
FROM base.internal.members_by_member m JOIN given f ON f.pix = m.member_ix
WHERE f.what = '*';

CREATE TABLE side.internal.taken_holds AS
SELECT DISTINCT f.eix, f.pix, f.state FROM given f
WHERE NOT f.adds AND f.group_ix IS NULL AND f.eix IS NOT NULL AND f.pix IS NOT NULL
UNION
SELECT h.eix, h.pix, h.state
FROM base.internal.holds_by_principal h JOIN given f ON f.pix = h.pix WHERE f.what = '*';

CREATE TABLE side.internal.given_members AS
SELECT DISTINCT f.group_ix, f.pix AS member_ix, f.state, f.is_group FROM given f
WHERE f.adds AND f.group_ix IS NOT NULL AND f.pix IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM base.internal.members_by_member m
    WHERE m.member_ix = f.pix AND m.group_ix = f.group_ix AND m.state = f.state
);

CREATE TABLE side.internal.given_holds AS
SELECT DISTINCT f.eix, f.pix, f.state, f.reach FROM given f
WHERE f.adds AND f.group_ix IS NULL AND f.eix IS NOT NULL AND f.pix IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM base.internal.holds_by_principal h
    WHERE h.pix = f.pix AND h.eix = f.eix AND h.state = f.state
);

CREATE VIEW side.internal.principals AS SELECT * FROM base.internal.principals;

CREATE VIEW side.internal.entitlements AS
SELECT * FROM base.internal.entitlements UNION ALL BY NAME SELECT * FROM more_entitlements;

CREATE VIEW side.internal.members_by_group AS
SELECT group_ix, member_ix, state, is_group
FROM base.internal.members_by_group
ANTI JOIN side.internal.taken_members USING (group_ix, member_ix, state)
UNION ALL
SELECT group_ix, member_ix, state, is_group FROM side.internal.given_members;

CREATE VIEW side.internal.members_by_member AS
SELECT member_ix, group_ix, state
FROM base.internal.members_by_member
ANTI JOIN side.internal.taken_members USING (group_ix, member_ix, state)
UNION ALL
SELECT member_ix, group_ix, state FROM side.internal.given_members;

CREATE VIEW side.internal.holds_by_entitlement AS
SELECT eix, pix, state, reach
FROM base.internal.holds_by_entitlement
ANTI JOIN side.internal.taken_holds USING (eix, pix, state)
UNION ALL
SELECT eix, pix, state, reach FROM side.internal.given_holds;

CREATE VIEW side.internal.holds_by_principal AS
SELECT pix, eix, state, reach
FROM base.internal.holds_by_principal
ANTI JOIN side.internal.taken_holds USING (eix, pix, state)
UNION ALL
SELECT pix, eix, state, reach FROM side.internal.given_holds;

-- Licences by way of groups follow memberships and the groups' own licences: of direct members who
-- are people.
CREATE TABLE side.internal.taken_licensed AS
SELECT l.eix, l.user_ix, l.group_ix
FROM base.internal.licensed_by_principal l
JOIN side.internal.taken_members t ON t.member_ix = l.user_ix AND t.group_ix = l.group_ix
WHERE t.state = 0
UNION
SELECT l.eix, l.user_ix, l.group_ix
FROM base.internal.licensed_by_entitlement l
JOIN side.internal.taken_holds t ON t.eix = l.eix AND t.pix = l.group_ix
UNION
SELECT l.eix, l.user_ix, l.group_ix
FROM base.internal.licensed_by_principal l JOIN given f ON f.pix = l.user_ix
WHERE f.what = '*';

CREATE TABLE side.internal.given_licensed AS
SELECT m.eix, m.member_ix AS user_ix, m.group_ix
FROM (
    SELECT h.eix, g.group_ix, g.member_ix
    FROM side.internal.given_members g
    JOIN side.internal.holds_by_principal h ON h.pix = g.group_ix
    WHERE h.reach = 3 AND h.state = 0 AND g.state = 0
    UNION
    SELECT h.eix, m.group_ix, m.member_ix
    FROM side.internal.given_holds h
    JOIN side.internal.members_by_group m ON m.group_ix = h.pix
    WHERE h.reach = 3 AND h.state = 0 AND m.state = 0
) m
JOIN base.internal.principals p ON p.ix = m.member_ix
WHERE p.kind IN ('user', 'guest') AND NOT EXISTS (
    SELECT 1 FROM base.internal.licensed_by_principal l
    WHERE l.user_ix = m.member_ix AND l.eix = m.eix AND l.group_ix = m.group_ix
);

CREATE VIEW side.internal.licensed_by_entitlement AS
SELECT eix, user_ix, group_ix
FROM base.internal.licensed_by_entitlement
ANTI JOIN side.internal.taken_licensed USING (eix, user_ix, group_ix)
UNION ALL
SELECT eix, user_ix, group_ix FROM side.internal.given_licensed;

CREATE VIEW side.internal.licensed_by_principal AS
SELECT user_ix, eix, group_ix
FROM base.internal.licensed_by_principal
ANTI JOIN side.internal.taken_licensed USING (eix, user_ix, group_ix)
UNION ALL
SELECT user_ix, eix, group_ix FROM side.internal.given_licensed;

CREATE VIEW side.internal.edges AS
SELECT member_ix, group_ix, state
FROM base.internal.nesting
ANTI JOIN side.internal.taken_members USING (group_ix, member_ix, state)
UNION ALL
SELECT member_ix, group_ix, state FROM side.internal.given_members
WHERE is_group AND member_ix <> group_ix;
