-- Direct holds (given as `holds`, and `licensed_users`) in numbers: with all that is known of each, and lean for the walks.

CREATE TEMP VIEW made_grants AS
SELECT e.eix, p.ix AS pix, h.state, h.reach, h.start_date_time, h.end_date_time,
       h.source_table, h.source_id, o.ix AS on_behalf_of_ix
FROM holds h
JOIN internal.entitlements e
  ON e.entitlement_id = CASE h.kind
         WHEN 'role' THEN 'role:' || h.resource_id || '@' || h.scope
         WHEN 'license' THEN 'license:' || h.resource_id
         ELSE h.kind || ':' || h.resource_id || ':' || h.permission END
JOIN internal.principals p ON p.id = h.principal_id
LEFT JOIN internal.principals o ON o.id = h.on_behalf_of;

-- Licences by way of a group are what the users say, not what membership would suggest: licensing
-- lags behind membership, fails for some, and skips everything that is not a user.
CREATE TEMP VIEW made_licensed AS
SELECT DISTINCT e.eix, u.ix AS user_ix, g.ix AS group_ix
FROM licensed_users l
JOIN internal.entitlements e ON e.entitlement_id = 'license:' || l.sku_id
JOIN internal.principals u ON u.id = l.user_id
JOIN internal.principals g ON g.id = l.group_id
WHERE l.in_force;
