-- The states in which given pairs of entitlement and principal are held in an attached warehouse:
-- the rules of effective.sql, asked from both ends at once. `side` stands for here or there.
CREATE TEMP TABLE held_side AS
WITH wanted AS (SELECT DISTINCT eix FROM pairs_side),
holds AS (
    SELECT h.eix, h.pix, h.state, h.reach
    FROM side.internal.holds_by_entitlement h SEMI JOIN wanted USING (eix)
),
-- Groups that bring it to all their members, and groups inside those.
bringing AS (
    SELECT e.eix, e.group_ix, 0 AS state
    FROM side.internal.entitlements e SEMI JOIN wanted USING (eix)
    WHERE e.group_ix IS NOT NULL
    UNION
    SELECT eix, pix, state FROM holds WHERE reach = 2
),
inside AS (
    SELECT DISTINCT b.eix, c.member_ix AS group_ix, greatest(b.state, c.state) AS state
    FROM bringing b JOIN side.internal.closure c ON c.group_ix = b.group_ix
),
joined AS (
    SELECT p.eix, p.pix, p.is_group, p.is_person, m.group_ix, m.state
    FROM pairs_side p JOIN side.internal.members_by_member m ON m.member_ix = p.pix
    WHERE m.group_ix <> m.member_ix
)
SELECT p.eix, p.pix, h.state::TINYINT AS state
FROM pairs_side p JOIN holds h ON h.eix = p.eix AND h.pix = p.pix
UNION
SELECT p.eix, p.pix, i.state
FROM pairs_side p JOIN inside i ON i.eix = p.eix AND i.group_ix = p.pix
UNION
SELECT j.eix, j.pix, greatest(j.state, b.state)
FROM joined j
JOIN (SELECT * FROM bringing UNION SELECT * FROM inside) b
  ON b.eix = j.eix AND b.group_ix = j.group_ix
WHERE NOT j.is_group
UNION
SELECT j.eix, j.pix, greatest(j.state, h.state)
FROM joined j JOIN holds h ON h.eix = j.eix AND h.pix = j.group_ix
WHERE h.reach = 1
UNION
SELECT p.eix, p.pix, 0
FROM pairs_side p
JOIN side.internal.licensed_by_principal l ON l.user_ix = p.pix AND l.eix = p.eix
UNION
SELECT j.eix, j.pix, 1
FROM joined j JOIN holds h ON h.eix = j.eix AND h.pix = j.group_ix
WHERE h.reach = 3 AND j.state = 1 AND j.is_person;
