-- The facts that `here` has and `there` does not, of two sides with the same numbers that differ in
-- given facts alone (predicted.sql). What follows is that of any two warehouses: brought.sql.
CREATE TEMP VIEW principal_numbers AS
SELECT ix AS here, ix AS there FROM here.internal.principals;

CREATE TEMP VIEW entitlement_numbers AS
SELECT eix AS here, eix AS there FROM here.internal.entitlements;

CREATE TEMP TABLE new_members AS
WITH touched AS (
    SELECT group_ix, member_ix, state FROM here.internal.given_members
    UNION SELECT group_ix, member_ix, state FROM there.internal.taken_members
)
SELECT t.group_ix, t.member_ix, t.state, p.is_group,
       t.state = 1 AND p.kind IN ('user', 'guest') AS is_person
FROM touched t
SEMI JOIN here.internal.members_by_member h USING (group_ix, member_ix, state)
ANTI JOIN there.internal.members_by_member o USING (group_ix, member_ix, state)
JOIN here.internal.principals p ON p.ix = t.member_ix
WHERE t.group_ix <> t.member_ix;

CREATE TEMP TABLE new_holds AS
WITH touched AS (
    SELECT eix, pix, state FROM here.internal.given_holds
    UNION SELECT eix, pix, state FROM there.internal.taken_holds
)
SELECT h.eix, h.pix, h.state, h.reach
FROM here.internal.holds_by_principal h
SEMI JOIN touched t USING (eix, pix, state)
ANTI JOIN there.internal.holds_by_principal o USING (eix, pix, state, reach);

CREATE TEMP TABLE new_licences AS
WITH touched AS (
    SELECT eix, user_ix, group_ix FROM here.internal.given_licensed
    UNION SELECT eix, user_ix, group_ix FROM there.internal.taken_licensed
)
SELECT t.eix, t.user_ix, t.group_ix
FROM touched t
SEMI JOIN here.internal.licensed_by_principal h USING (eix, user_ix, group_ix)
ANTI JOIN there.internal.licensed_by_principal o USING (eix, user_ix, group_ix);
