-- What is held here and not there, each with the facts that bring it in just that state.
CREATE TEMP TABLE differing AS
WITH before AS (
    SELECT e.here AS eix, p.here AS pix, h.state
    FROM held_there h
    JOIN entitlement_numbers e ON e.there = h.eix
    JOIN principal_numbers p ON p.there = h.pix
)
SELECT h.eix, h.pix, h.state, b.facts
FROM held_here h
ANTI JOIN before USING (eix, pix, state)
LEFT JOIN (
    SELECT eix, pix, state, list(DISTINCT fact ORDER BY fact) AS facts
    FROM brought GROUP BY eix, pix, state
) b USING (eix, pix, state);
