-- Where cycles were condensed, rows of the closure are about representatives: spread them out again
-- for the walks. Groups of one component are inside each other, one step at least.
CREATE TABLE internal.component_members AS
SELECT coalesce(c.representative, p.ix) AS representative, p.ix AS ix,
       c.representative IS NOT NULL AS is_condensed
FROM internal.principals p
LEFT JOIN internal.components c ON c.ix = p.ix
WHERE p.is_group
ORDER BY representative, ix;

CREATE VIEW internal.closure AS
SELECT g.ix AS group_ix, m.ix AS member_ix, c.state, c.depth, c.paths, c.exact, c.on_cycle
FROM internal.condensed_closure c
JOIN internal.component_members g ON g.representative = c.group_ix
JOIN internal.component_members m ON m.representative = c.member_ix
UNION ALL
SELECT g.ix, m.ix, 0, 1, 1, false, true
FROM internal.component_members g
JOIN internal.component_members m ON m.representative = g.representative AND m.ix <> g.ix
WHERE g.is_condensed;
