-- What is known of the use of the holds in the temporary table `page` (pix, eix, state, direct).
--
-- last: the latest sign of use. since: from here on, no sign means no use; null where nothing could
-- tell. A sign is
--   for an app role, that its holder signed in to the application, as the client or the resource.
--     Which role was used nothing tells. Only sign-ins of users are logged whole, so nothing is
--     conclusive of a service principal;
--   for a role that must be activated, that its holder activated it. Who is eligible by a group may
--     activate that instead: without an activation nothing is known;
--   for an active role, an activation, or any change of the directory by its holder. Reading, and
--     work in other services, leave none: without changes nothing is known.
-- Who has certainly not signed in has used neither. Nothing tells of the use of anything else.
WITH windows AS (
    SELECT any_value(as_of) - INTERVAL 720 HOURS AS recent,
           max(since) FILTER (WHERE feed = 'sign_ins') AS sign_ins,
           max(since) FILTER (WHERE feed = 'directory_audits') AS audits
    FROM usage_coverage
),
holds AS (
    SELECT p.pix, p.eix, p.state, p.direct, e.resource_id,
           k.kind IN ('user', 'guest') AS person,
           CASE WHEN e.resource_kind = 'role' THEN 'role'
                WHEN starts_with(e.entitlement_id, 'app:') AND e.purpose <> 'ownership'
                    THEN 'app' END AS form
    FROM page p
    JOIN internal.entitlements e USING (eix)
    JOIN internal.principals k ON k.ix = p.pix
),
apps AS (
    SELECT h.pix, h.eix, h.state, max(u.last) AS last, sum(u.used_30d)::BIGINT AS used_30d,
           sum(u.used_90d)::BIGINT AS used_90d
    FROM holds h
    JOIN internal.used_applications a ON a.service_principal_id = h.resource_id
    JOIN internal.application_use u ON u.pix = h.pix AND u.aix = a.aix
    WHERE h.form = 'app'
    GROUP BY ALL
),
facts AS (
    SELECT h.pix, h.eix, h.state,
           CASE h.form
               WHEN 'app' THEN a.last
               WHEN 'role' THEN greatest(r.last, CASE WHEN h.state = 0 THEN u.last_change END)
           END AS last,
           CASE h.form
               WHEN 'app' THEN coalesce(a.used_30d, 0)
               WHEN 'role' THEN coalesce(r.used_30d, 0)
                    + CASE WHEN h.state = 0 THEN coalesce(u.changes_30d, 0) ELSE 0 END
           END AS used_30d,
           CASE h.form
               WHEN 'app' THEN coalesce(a.used_90d, 0)
               WHEN 'role' THEN coalesce(r.used_90d, 0)
                    + CASE WHEN h.state = 0 THEN coalesce(u.changes_90d, 0) ELSE 0 END
           END AS used_90d,
           CASE WHEN NOT h.person OR h.form IS NULL THEN NULL
                WHEN h.form = 'app' THEN least(w.sign_ins, u.idle_since)
                WHEN h.state = 1 AND h.direct THEN least(w.audits, u.idle_since)
                ELSE u.idle_since END AS since,
           -- How far back a number is the whole number.
           CASE WHEN h.form = 'role' THEN w.audits WHEN h.person THEN w.sign_ins END AS counted,
           CASE WHEN h.form = 'role' AND h.state = 1 THEN 'activations'
                WHEN h.form = 'role' THEN 'directory_changes'
                WHEN h.form = 'app' THEN 'sign_ins' END AS signal
    FROM holds h
    CROSS JOIN windows w
    LEFT JOIN apps a ON a.pix = h.pix AND a.eix = h.eix AND a.state = h.state
    LEFT JOIN internal.role_use r
           ON h.form = 'role' AND r.pix = h.pix AND r.role_definition_id = h.resource_id
    LEFT JOIN internal.principal_use u ON u.pix = h.pix
)
SELECT f.pix, f.eix, f.state, f.last, f.since, f.signal,
       CASE WHEN since <= recent OR (counted <= recent AND used_30d > 0) THEN used_30d END
           AS used_30d,
       CASE WHEN since <= long OR (counted <= long AND used_90d > 0) THEN used_90d END AS used_90d
FROM facts f
CROSS JOIN (SELECT recent, recent - INTERVAL 1440 HOURS AS long FROM windows)
