-- Entitlements whose holders may be others than they were (table `counted`).
--
-- What a group is brought, all its members are, and those of the groups inside it. Where a path down
-- to a change is no more, the group where it broke has itself changed: the paths of now suffice.
CREATE TEMP TABLE changed_groups AS
SELECT group_ix FROM touched.member_pairs
UNION
SELECT m.group_ix
FROM internal.members_by_member m SEMI JOIN touched.other_kinds t ON t.ix = m.member_ix;

CREATE TEMP TABLE groups_around AS
SELECT group_ix FROM changed_groups
UNION
SELECT c.group_ix FROM internal.closure c SEMI JOIN changed_groups g ON g.group_ix = c.member_ix;

CREATE TEMP TABLE counted AS
SELECT e.eix FROM internal.entitlements e SEMI JOIN touched.resources t ON t.id = e.resource_id
UNION
SELECT e.eix FROM internal.entitlements e SEMI JOIN groups_around g ON g.group_ix = e.group_ix
UNION
SELECT h.eix FROM internal.holds_by_entitlement h SEMI JOIN groups_around g ON g.group_ix = h.pix
UNION
SELECT h.eix
FROM internal.holds_by_entitlement h SEMI JOIN touched.other_kinds t ON t.ix = h.pix;
