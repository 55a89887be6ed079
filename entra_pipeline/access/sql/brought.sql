-- What facts of the warehouse `here` that `there` does not have (new_members, new_holds,
-- new_licences) bring about: pairs of principal and entitlement that may be held here alone, in the
-- numbers of both sides (principal_numbers, entitlement_numbers).

-- Each fact with a number, in an order that does not depend on how the engine came by it.
CREATE TEMP TABLE facts AS
SELECT row_number() OVER (ORDER BY form, what, who, state, via) AS fact, *
FROM (
    SELECT 'membership' AS form, 'group:' || g.id || ':member' AS what, m.member_ix, m.group_ix,
           NULL::INTEGER AS eix, p.id AS who, m.state, NULL::TINYINT AS reach, NULL AS via,
           m.is_group, m.is_person
    FROM new_members m
    JOIN here.internal.principals g ON g.ix = m.group_ix
    JOIN here.internal.principals p ON p.ix = m.member_ix
    UNION ALL
    SELECT 'grant', e.entitlement_id, h.pix, NULL, h.eix, p.id, h.state, h.reach, NULL,
           p.is_group, NULL
    FROM new_holds h
    JOIN here.internal.entitlements e ON e.eix = h.eix
    JOIN here.internal.principals p ON p.ix = h.pix
    UNION ALL
    SELECT 'license', e.entitlement_id, l.user_ix, l.group_ix, l.eix, u.id, 0, NULL, g.id,
           false, NULL
    FROM new_licences l
    JOIN here.internal.entitlements e ON e.eix = l.eix
    JOIN here.internal.principals u ON u.ix = l.user_ix
    JOIN here.internal.principals g ON g.ix = l.group_ix
);

-- Who receives what is brought to a group and passed on at any depth: the group, the groups inside
-- it and all their members. Only for groups that a fact is about.
CREATE TEMP TABLE below AS
WITH wanted AS (
    SELECT DISTINCT member_ix AS ix FROM facts
    WHERE is_group AND (form = 'membership' OR reach = 2)
),
groups AS (
    SELECT ix AS top, ix AS group_ix, 0 AS state FROM wanted
    UNION
    SELECT c.group_ix, c.member_ix, c.state
    FROM here.internal.closure c JOIN wanted w ON w.ix = c.group_ix
)
SELECT top, group_ix AS pix, state FROM groups
UNION
SELECT g.top, m.member_ix, greatest(g.state, m.state)
FROM groups g JOIN here.internal.members_by_group m ON m.group_ix = g.group_ix
WHERE NOT m.is_group;

-- What members of a group are brought by being its members: its own membership, that of the groups
-- around it, and what these hold and pass on.
CREATE TEMP TABLE above AS
WITH wanted AS (SELECT DISTINCT group_ix AS ix FROM facts WHERE form = 'membership'),
groups AS (
    SELECT ix AS bottom, ix AS group_ix, 0 AS state FROM wanted
    UNION
    SELECT c.member_ix, c.group_ix, c.state
    FROM here.internal.closure c JOIN wanted w ON w.ix = c.member_ix
)
SELECT g.bottom, e.eix, g.state
FROM groups g JOIN here.internal.entitlements e ON e.group_ix = g.group_ix
UNION
SELECT g.bottom, h.eix, greatest(g.state, h.state)
FROM groups g JOIN here.internal.holds_by_principal h ON h.pix = g.group_ix
WHERE h.reach = 2;

-- Pairs that a fact may bring about, with the state that it would bring them in.
CREATE TEMP TABLE brought AS
SELECT a.eix, f.member_ix AS pix, greatest(f.state, a.state)::TINYINT AS state, f.fact
FROM facts f JOIN above a ON a.bottom = f.group_ix
WHERE f.form = 'membership' AND NOT f.is_group
UNION
SELECT a.eix, b.pix, greatest(f.state, a.state, b.state), f.fact
FROM facts f JOIN above a ON a.bottom = f.group_ix JOIN below b ON b.top = f.member_ix
WHERE f.form = 'membership' AND f.is_group
UNION
-- What reaches direct members only, and what members who may be activated may be licensed for.
SELECT h.eix, f.member_ix, greatest(f.state, h.state), f.fact
FROM facts f JOIN here.internal.holds_by_principal h ON h.pix = f.group_ix
WHERE f.form = 'membership' AND (h.reach = 1 OR (h.reach = 3 AND f.state = 1 AND f.is_person))
UNION
SELECT eix, member_ix, state, fact FROM facts WHERE form IN ('grant', 'license')
UNION
SELECT f.eix, b.pix, greatest(f.state, b.state), f.fact
FROM facts f JOIN below b ON b.top = f.member_ix
WHERE f.form = 'grant' AND f.reach = 2 AND f.is_group
UNION
SELECT f.eix, m.member_ix, greatest(f.state, m.state), f.fact
FROM facts f JOIN here.internal.members_by_group m ON m.group_ix = f.member_ix
JOIN here.internal.principals p ON p.ix = m.member_ix
WHERE f.form = 'grant' AND f.is_group AND m.member_ix <> m.group_ix
  AND (f.reach = 1 OR (f.reach = 3 AND m.state = 1 AND p.kind IN ('user', 'guest')));

CREATE TEMP TABLE pairs_here AS
SELECT b.eix, b.pix, p.is_group, p.kind IN ('user', 'guest') AS is_person
FROM (SELECT DISTINCT eix, pix FROM brought) b JOIN here.internal.principals p ON p.ix = b.pix;

CREATE TEMP TABLE pairs_there AS
SELECT e.there AS eix, n.there AS pix, p.is_group, p.kind IN ('user', 'guest') AS is_person
FROM pairs_here h
JOIN entitlement_numbers e ON e.here = h.eix
JOIN principal_numbers n ON n.here = h.pix
JOIN there.internal.principals p ON p.ix = n.there;
