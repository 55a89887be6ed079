-- Groups whose members have to be known to count some entitlements (table `counted`): the groups that
-- those are memberships of, groups that hold them and pass them on, and all groups inside.
CREATE TEMP TABLE counted_groups AS
WITH outer_groups AS (
    SELECT e.group_ix
    FROM internal.entitlements e SEMI JOIN counted d ON d.eix = e.eix
    WHERE e.group_ix IS NOT NULL
    UNION
    SELECT h.pix
    FROM internal.holds_by_entitlement h
    SEMI JOIN counted d ON d.eix = h.eix
    JOIN internal.principals p ON p.ix = h.pix
    WHERE p.is_group AND h.reach > 0
)
SELECT group_ix FROM outer_groups
UNION
SELECT c.member_ix FROM internal.closure c SEMI JOIN outer_groups o ON o.group_ix = c.group_ix;
