-- How many principals hold each entitlement, directly and in effect, by state.
CREATE TABLE internal.counts AS
SELECT e.eix,
       coalesce(a.direct_active, 0) AS direct_active,
       coalesce(a.direct_eligible, 0) AS direct_eligible,
       coalesce(a.effective_active, 0) AS effective_active,
       coalesce(a.effective_eligible, 0) AS effective_eligible
FROM internal.entitlements e
LEFT JOIN (
    SELECT eix,
           count(*) FILTER (WHERE state = 0 AND direct) AS direct_active,
           count(*) FILTER (WHERE state = 1 AND direct) AS direct_eligible,
           count(*) FILTER (WHERE state = 0) AS effective_active,
           count(*) FILTER (WHERE state = 1) AS effective_eligible
    FROM internal.effective(0, 2147483647)
    GROUP BY eix
) a ON a.eix = e.eix
ORDER BY e.eix;
