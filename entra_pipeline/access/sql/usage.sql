-- Use, in numbers: what `usage.py` found in the feeds, joined to the principals of the warehouse.
-- Given are usage_coverage and three temporary tables of sums: signed, changed, activated.

-- Applications that somebody signed in to, numbered: 36 characters for each sign-in are too many.
CREATE TABLE internal.used_applications AS
SELECT (row_number() OVER (ORDER BY a.app_id) - 1)::INTEGER AS aix, a.app_id,
       s.id AS service_principal_id
FROM (SELECT DISTINCT what AS app_id FROM signed) a
LEFT JOIN (
    SELECT lower(app_id) AS app_id, min(id) AS id FROM service_principals GROUP BY ALL
) s USING (app_id);

-- capacity: 0 client, 1 resource. kind: 0 interactive, 1 non-interactive, 2 as itself.
CREATE TABLE internal.application_use AS
SELECT p.ix AS pix, a.aix, (s.capacity = 'resource')::TINYINT AS capacity,
       CASE s.kind WHEN 'interactive' THEN 0 WHEN 'non_interactive' THEN 1 ELSE 2 END::TINYINT
           AS kind,
       s.used_30d, s.used_90d, s.last
FROM signed s
JOIN internal.principals p ON p.id = s.who
JOIN internal.used_applications a ON a.app_id = s.what
ORDER BY ALL;

CREATE TABLE internal.role_use AS
SELECT p.ix AS pix, r.id AS role_definition_id, sum(a.used_30d)::BIGINT AS used_30d,
       sum(a.used_90d)::BIGINT AS used_90d, max(a.last) AS last
FROM activated a
JOIN internal.principals p ON p.id = a.who
JOIN role_definitions r ON r.id = a.what
GROUP BY ALL
ORDER BY pix, role_definition_id;

-- A user's own record speaks for the time up to when it was read. A user that it has no row of is
-- not known; one without any time in it has never signed in.
CREATE TABLE internal.principal_use AS
WITH told AS (
    SELECT p.ix AS pix, t.last_sign_in_date_time AS interactive,
           t.last_non_interactive_sign_in_date_time AS non_interactive,
           t.last_successful_sign_in_date_time AS successful
    FROM user_sign_in_activity t JOIN internal.principals p ON p.id = t.user_id
    WHERE (SELECT until IS NOT NULL FROM usage_coverage WHERE feed = 'user_sign_in_activity')
),
seen AS (
    SELECT pix, max(last) FILTER (WHERE kind = 0) AS interactive,
           max(last) FILTER (WHERE kind = 1) AS non_interactive,
           max(last) FILTER (WHERE kind < 2) AS successful,
           max(last) FILTER (WHERE kind = 2) AS service_principal
    FROM internal.application_use GROUP BY pix
),
changes AS (
    SELECT p.ix AS pix, c.last, c.used_30d, c.used_90d
    FROM changed c JOIN internal.principals p ON p.id = c.who
)
SELECT pix,
       CASE WHEN t.pix IS NULL THEN s.interactive ELSE t.interactive END AS interactive,
       CASE WHEN t.pix IS NULL THEN s.non_interactive ELSE t.non_interactive END AS non_interactive,
       CASE WHEN t.pix IS NULL THEN s.successful ELSE t.successful END AS successful,
       s.service_principal,
       CASE WHEN t.pix IS NOT NULL THEN 'user_sign_in_activity'
            WHEN s.successful IS NOT NULL THEN 'sign_ins' END AS source,
       CASE WHEN t.pix IS NOT NULL THEN
           coalesce(greatest(t.interactive, t.non_interactive, t.successful, s.successful, c.last)
                    + INTERVAL 1 MICROSECOND, TIMESTAMPTZ '1970-01-01 00:00:00Z') END AS idle_since,
       c.last AS last_change, coalesce(c.used_30d, 0) AS changes_30d,
       coalesce(c.used_90d, 0) AS changes_90d
FROM told t FULL JOIN seen s USING (pix) FULL JOIN changes c USING (pix)
ORDER BY pix;
