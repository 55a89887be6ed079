-- What is held in the warehouse `here` and not in the warehouse `there`, and which direct facts of
-- `here`, unknown to `there`, bring it. Asked both ways round this is what was gained and lost.
--
-- Whatever is held here and not there is held over at least one path, and at least one step of
-- each such path is a fact that is not there. So it is enough to look at who is brought something
-- by such facts, and what: pairs of principal and entitlement, which are few when little changed.
-- For these, and only these, all holds are worked out on both sides and compared.

-- Numbers of there by numbers of here.
CREATE TEMP TABLE principal_numbers AS
SELECT h.ix AS here, t.ix AS there
FROM here.internal.principals h JOIN there.internal.principals t ON t.id = h.id;

CREATE TEMP TABLE entitlement_numbers AS
SELECT h.eix AS here, t.eix AS there
FROM here.internal.entitlements h JOIN there.internal.entitlements t
  ON t.entitlement_id = h.entitlement_id;

-- Facts that are here and not there. What a fact brings also depends on what its member is: only
-- people who may become members may become licensed.
CREATE TEMP TABLE new_members AS
WITH before AS (
    SELECT g.here AS group_ix, p.here AS member_ix, m.state, m.is_group,
           m.state = 1 AND q.kind IN ('user', 'guest') AS is_person
    FROM there.internal.members_by_group m
    JOIN principal_numbers g ON g.there = m.group_ix
    JOIN principal_numbers p ON p.there = m.member_ix
    JOIN there.internal.principals q ON q.ix = m.member_ix
    WHERE m.group_ix <> m.member_ix
),
now AS (
    SELECT m.group_ix, m.member_ix, m.state, m.is_group,
           m.state = 1 AND q.kind IN ('user', 'guest') AS is_person
    FROM here.internal.members_by_group m
    JOIN here.internal.principals q ON q.ix = m.member_ix
    WHERE m.group_ix <> m.member_ix
)
SELECT n.* FROM now n
ANTI JOIN before b USING (group_ix, member_ix, state, is_group, is_person);

CREATE TEMP TABLE new_holds AS
WITH before AS (
    SELECT e.here AS eix, p.here AS pix, h.state, h.reach
    FROM there.internal.holds_by_entitlement h
    JOIN entitlement_numbers e ON e.there = h.eix
    JOIN principal_numbers p ON p.there = h.pix
)
SELECT h.eix, h.pix, h.state, h.reach FROM here.internal.holds_by_entitlement h
ANTI JOIN before b USING (eix, pix, state, reach);

CREATE TEMP TABLE new_licences AS
WITH before AS (
    SELECT e.here AS eix, u.here AS user_ix, g.here AS group_ix
    FROM there.internal.licensed_by_entitlement l
    JOIN entitlement_numbers e ON e.there = l.eix
    JOIN principal_numbers u ON u.there = l.user_ix
    JOIN principal_numbers g ON g.there = l.group_ix
)
SELECT l.eix, l.user_ix, l.group_ix FROM here.internal.licensed_by_entitlement l
ANTI JOIN before b USING (eix, user_ix, group_ix);
