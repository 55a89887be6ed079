-- Ids that are named and that no table lists, as principals. Given is the table `dangling`: every
-- such id with the kinds that it is said to be.
--
-- Where the table of the kind was read whole they are dangling: `unknown`. Where it was not, the
-- object is merely unread and the kind it is said to be is the best there is.
CREATE TEMP TABLE unlisted AS
WITH judged AS (
    SELECT d.id, d.kind, bool_or(d.kind = 'group') OVER (PARTITION BY d.id) AS is_group,
           k.table IS NOT NULL AND coalesce(s.status, 'never') <> 'complete' AS unread
    FROM dangling d
    LEFT JOIN (VALUES ('user', 'users'), ('group', 'groups'),
                      ('service_principal', 'service_principals'),
                      ('device', 'devices'), ('contact', 'contacts')) AS k(kind, "table")
           ON k.kind = d.kind
    LEFT JOIN table_status s ON s."table" = k."table"
)
SELECT j.id, j.kind, d.display_name AS name, NULL::BOOLEAN AS enabled,
       CASE WHEN d.id IS NOT NULL THEN 'deleted_items' END AS source,
       NULL::VARCHAR AS user_principal_name, NULL::VARCHAR AS mail, NULL::VARCHAR AS app_id,
       j.is_group
FROM (
    SELECT id, coalesce(min(kind) FILTER (WHERE unread), 'unknown') AS kind,
           coalesce(bool_or(is_group), false) AS is_group
    FROM judged GROUP BY id
) j
LEFT JOIN (SELECT id, any_value(display_name) AS display_name FROM deleted_items GROUP BY id) d
       ON d.id = j.id;
