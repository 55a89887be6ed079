-- Every simple path from a principal to an entitlement, shortest first, one row per step.
--
-- Bounds: 1,000 paths, and 64 groups in a path unless even the shortest is longer. While walking,
-- at most 2,000 unfinished paths of one length are kept. `truncated` says that a bound was met.
-- Only groups from which the entitlement can still be reached are walked, so without cycles no
-- walk is in vain.
CREATE MACRO explain(principal, entitlement) AS TABLE
WITH RECURSIVE
self AS (
    SELECT ix, is_group, kind IN ('user', 'guest') AS is_user
    FROM internal.principals WHERE id = principal
),
wanted AS (
    SELECT eix, group_ix, entitlement_id, resource_id, resource_kind, resource_name
    FROM internal.entitlements WHERE entitlement_id = entitlement
),
holds AS (
    SELECT pix, state, reach FROM internal.holds_by_entitlement
    WHERE eix = (SELECT eix FROM wanted)
),
ends AS (
    SELECT group_ix AS ix FROM wanted WHERE group_ix IS NOT NULL
    UNION SELECT pix FROM holds WHERE reach = 2
),
-- Fewest steps from a group to an end.
toward(ix, distance) USING KEY (ix) AS (
    SELECT ix, 0 FROM ends
    UNION
    SELECT n.member_ix, t.distance + 1
    FROM toward t JOIN internal.nesting n ON n.group_ix = t.ix
    WHERE NOT EXISTS (SELECT 1 FROM recurring.toward r WHERE r.ix = n.member_ix)
),
hops AS (
    SELECT m.member_ix, m.group_ix, m.state, t.distance
    FROM (
        SELECT member_ix, group_ix, state FROM internal.members_by_member
        WHERE member_ix = (SELECT ix FROM self) AND NOT (SELECT is_group FROM self)
        UNION ALL
        SELECT member_ix, group_ix, state FROM internal.nesting
    ) m
    JOIN toward t ON t.ix = m.group_ix
    -- Membership of a group is reached when the group is: nothing beyond it matters.
    WHERE m.member_ix IS DISTINCT FROM (SELECT group_ix FROM wanted)
),
longest AS (
    SELECT greatest(64, coalesce(min(distance) + 1, 0)) AS steps
    FROM hops WHERE member_ix = (SELECT ix FROM self)
),
walk(nodes, states, node, steps) AS (
    SELECT [ix], []::TINYINT[], ix, 0 FROM self
    UNION ALL
    (
        SELECT list_append(w.nodes, h.group_ix), list_append(w.states, h.state), h.group_ix,
               w.steps + 1
        FROM walk w JOIN hops h ON h.member_ix = w.node
        WHERE NOT list_contains(w.nodes, h.group_ix)
          AND w.steps + 1 + h.distance <= (SELECT steps FROM longest)
        ORDER BY 1, 2
        LIMIT 2000
    )
),
whole AS (
    SELECT nodes, states FROM walk
    WHERE steps > 0 AND node = (SELECT group_ix FROM wanted)
    UNION ALL
    SELECT w.nodes, list_append(w.states, h.state)
    FROM walk w JOIN holds h ON h.pix = w.node
    WHERE w.steps = 0 OR h.reach = 2
    UNION ALL
    SELECT [m.member_ix, m.group_ix], [m.state, h.state]
    FROM internal.members_by_member m JOIN holds h ON h.pix = m.group_ix
    WHERE m.member_ix = (SELECT ix FROM self) AND m.member_ix <> m.group_ix
      AND (h.reach = 1 OR (h.reach = 3 AND m.state = 1 AND (SELECT is_user FROM self)))
    UNION ALL
    SELECT [l.user_ix, l.group_ix], [0, 0]::TINYINT[]
    FROM internal.licensed_by_principal l
    WHERE l.user_ix = (SELECT ix FROM self) AND l.eix = (SELECT eix FROM wanted)
),
numbered AS (
    SELECT row_number() OVER (ORDER BY len(nodes), nodes, states) AS path, nodes, states
    FROM whole
),
bounds AS (
    SELECT (SELECT count(*) FROM whole) > 1000
        OR EXISTS (SELECT 1 FROM walk GROUP BY steps HAVING count(*) >= 2000)
        OR EXISTS (
            SELECT 1 FROM walk w JOIN hops h ON h.member_ix = w.node
            WHERE NOT list_contains(w.nodes, h.group_ix)
              AND w.steps + 1 + h.distance > (SELECT steps FROM longest)
        )
        OR EXISTS (
            SELECT 1 FROM internal.closure c JOIN ends ON ends.ix = c.group_ix
            WHERE NOT c.exact AND c.member_ix IN (SELECT unnest(nodes) FROM walk WHERE steps < 2)
        ) AS truncated
),
steps AS (
    SELECT path, unnest(range(1, len(states) + 1))::INTEGER AS step, nodes, states
    FROM numbered WHERE path <= 1000
)
SELECT s.path, s.step,
       f.id AS from_id, f.kind AS from_kind, f.name AS from_name,
       CASE WHEN t.ix IS NULL THEN w.resource_id ELSE t.id END AS to_id,
       CASE WHEN t.ix IS NULL THEN w.resource_kind ELSE t.kind END AS to_kind,
       CASE WHEN t.ix IS NULL THEN w.resource_name ELSE t.name END AS to_name,
       CASE WHEN t.ix IS NULL THEN w.entitlement_id ELSE 'group:' || t.id || ':member' END AS via,
       CASE
           WHEN t.ix IS NOT NULL OR w.entitlement_id LIKE 'group:%:member' THEN 'membership'
           WHEN w.entitlement_id LIKE '%:owner' THEN 'ownership'
           WHEN w.entitlement_id LIKE 'unit:%' THEN 'unit_membership'
           WHEN w.entitlement_id LIKE 'role:%' THEN 'directory_role'
           WHEN w.entitlement_id LIKE 'license:%' THEN 'license'
           WHEN w.entitlement_id LIKE 'delegated:%' THEN 'delegated_permission'
           ELSE 'app_role' END AS kind,
       CASE s.states[s.step] WHEN 0 THEN 'active' ELSE 'eligible' END AS state,
       (SELECT truncated FROM bounds) AS truncated
FROM steps s
CROSS JOIN wanted w
JOIN internal.principals f ON f.ix = s.nodes[s.step]
LEFT JOIN internal.principals t ON t.ix = s.nodes[s.step + 1]
ORDER BY s.path, s.step;
