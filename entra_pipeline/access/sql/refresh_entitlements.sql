-- The entitlements of touched resources replaced; those that stay keep their numbers.
CREATE TEMP TABLE made AS SELECT * FROM made_entitlements;
CREATE TEMP TABLE were AS
SELECT e.entitlement_id, e.eix
FROM internal.entitlements e SEMI JOIN touched.resources t ON t.id = e.resource_id;
CREATE TEMP TABLE last_number AS SELECT coalesce(max(eix), -1) AS eix FROM internal.entitlements;

DELETE FROM internal.entitlements e USING touched.resources t WHERE t.id = e.resource_id;
INSERT INTO internal.entitlements
SELECT coalesce(w.eix, (SELECT eix FROM last_number)
           + row_number() OVER (
               PARTITION BY w.eix IS NULL ORDER BY m.kind, m.resource_id, m.permission, m.scope
           ))::INTEGER AS eix,
       m.*
FROM made m LEFT JOIN were w ON w.entitlement_id = m.entitlement_id;
