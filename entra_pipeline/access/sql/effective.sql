-- Effective access, in numbers and with ids. A hold's state is 0 (active) or 1 (eligible); over a
-- path it is the greatest of its hops', since one hop that must be activated makes all eligible.
-- depth: groups between the principal and the holder of the grant, 0 when it is held directly.
-- paths: simple paths, each hop in each of its states a path of its own; up to a million.

-- Everybody's hold of the entitlements numbered low to high.
CREATE MACRO internal.effective(low, high) AS TABLE
WITH wanted AS (
    SELECT eix, group_ix FROM internal.entitlements
    WHERE eix BETWEEN low AND high AND group_ix IS NOT NULL
),
holds AS (
    SELECT eix, pix, state, reach FROM internal.holds_by_entitlement
    WHERE eix BETWEEN low AND high
),
-- Groups that bring it to all their members, and groups inside those.
bringing AS (
    SELECT eix, group_ix, 0 AS state, 0 AS depth FROM wanted
    UNION ALL
    SELECT eix, pix, state, 1 FROM holds WHERE reach = 2
),
inside AS (
    SELECT b.eix, c.member_ix AS group_ix, greatest(b.state, c.state) AS state,
           b.depth + c.depth AS depth, c.paths
    FROM bringing b JOIN internal.closure c ON c.group_ix = b.group_ix
),
hits AS (
    SELECT eix, pix, state, 0 AS depth, 1 AS paths FROM holds
    UNION ALL
    -- A group inside a group: the closure has it, with simple paths only.
    SELECT eix, group_ix, state, depth - 1, paths FROM inside
    UNION ALL
    SELECT s.eix, m.member_ix, greatest(s.state, m.state), s.depth, s.paths
    FROM (
        SELECT eix, group_ix, state, depth, 1 AS paths FROM bringing
        UNION ALL SELECT eix, group_ix, state, depth, paths FROM inside
    ) s
    JOIN internal.members_by_group m ON m.group_ix = s.group_ix
    WHERE NOT m.is_group
    UNION ALL
    SELECT h.eix, m.member_ix, greatest(h.state, m.state), 1, 1
    FROM holds h JOIN internal.members_by_group m ON m.group_ix = h.pix
    WHERE h.reach = 1 AND m.member_ix <> m.group_ix
    UNION ALL
    SELECT eix, user_ix, 0, 1, 1 FROM internal.licensed_by_entitlement
    WHERE eix BETWEEN low AND high
    UNION ALL
    -- Who may become a member of a licensed group may become licensed, if a user.
    SELECT h.eix, m.member_ix, 1, 1, 1
    FROM holds h
    JOIN internal.members_by_group m ON m.group_ix = h.pix
    JOIN internal.principals p ON p.ix = m.member_ix
    WHERE h.reach = 3 AND m.state = 1 AND p.kind IN ('user', 'guest')
)
SELECT eix, pix, state, min(depth) AS depth, min(depth) = 0 AS direct,
       least(sum(paths), 1000000)::BIGINT AS paths
FROM hits
GROUP BY eix, pix, state;

-- Everything that one principal holds, a group or not, a person (user or guest) or not.
CREATE MACRO internal.reach_of(who, a_group, a_person) AS TABLE
WITH joined AS (
    SELECT m.group_ix, m.state FROM internal.members_by_member m
    WHERE m.member_ix = who AND m.group_ix <> m.member_ix
),
reached AS (
    SELECT group_ix, state, 0 AS depth, 1 AS paths
    FROM joined WHERE NOT a_group
    UNION ALL
    SELECT c.group_ix, greatest(j.state, c.state), c.depth, c.paths
    FROM joined j JOIN internal.closure c ON c.member_ix = j.group_ix
    WHERE NOT a_group
    UNION ALL
    SELECT c.group_ix, c.state, c.depth - 1, c.paths
    FROM internal.closure c
    WHERE c.member_ix = who AND a_group
),
hits AS (
    SELECT eix, state, 0 AS depth, 1 AS paths
    FROM internal.holds_by_principal WHERE pix = who
    UNION ALL
    SELECT e.eix, r.state, r.depth, r.paths
    FROM reached r JOIN internal.entitlements e ON e.group_ix = r.group_ix
    UNION ALL
    SELECT h.eix, greatest(r.state, h.state), r.depth + 1, r.paths
    FROM reached r JOIN internal.holds_by_principal h ON h.pix = r.group_ix
    WHERE h.reach = 2
    UNION ALL
    SELECT h.eix, greatest(j.state, h.state), 1, 1
    FROM joined j JOIN internal.holds_by_principal h ON h.pix = j.group_ix
    WHERE h.reach = 1
    UNION ALL
    SELECT eix, 0, 1, 1 FROM internal.licensed_by_principal WHERE user_ix = who
    UNION ALL
    SELECT h.eix, 1, 1, 1
    FROM joined j JOIN internal.holds_by_principal h ON h.pix = j.group_ix
    WHERE h.reach = 3 AND j.state = 1 AND a_person
)
SELECT eix, state, min(depth) AS depth, min(depth) = 0 AS direct,
       least(sum(paths), 1000000)::BIGINT AS paths
FROM hits
GROUP BY eix, state;
