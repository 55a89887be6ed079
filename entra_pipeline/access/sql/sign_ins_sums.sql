-- Successful sign-ins by who signed in, to what and how. One sign-in counts for the application
-- that was signed in to and, if another, for the resource that this asked access to.
SELECT who, unnest(things).what AS what, kind, unnest(things).capacity AS capacity, recent, number, last
FROM (
    SELECT who, kind, recent, number, last,
           list_filter([
               {'what': app, 'capacity': 'client'},
               {'what': CASE WHEN resource <> app OR app IS NULL THEN resource END,
                'capacity': 'resource'}
           ], lambda x: x.what IS NOT NULL) AS things
    FROM (
        SELECT coalesce(
                   CASE WHEN user_id NOT IN ('', '00000000-0000-0000-0000-000000000000')
                        THEN lower(user_id) END,
                   nullif(lower(service_principal_id), '')) AS who,
               CASE WHEN user_id IN ('', '00000000-0000-0000-0000-000000000000') OR user_id IS NULL
                    THEN 'service_principal'
                    WHEN is_interactive IS FALSE THEN 'non_interactive'
                    ELSE 'interactive' END AS kind,
               nullif(lower(app_id), '') AS app, nullif(lower(resource_id), '') AS resource,
               count(*) FILTER (WHERE $recent) AS recent, count(*) AS number,
               max(created_date_time) AS last
        FROM $events
        WHERE coalesce(error_code, 0) = 0 AND $within
        GROUP BY ALL
    )
    WHERE who IS NOT NULL
)
