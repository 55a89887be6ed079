-- Successful entries of the audit log by who caused them, and completed activations of roles by
-- whose they are and by every id that PIM gives the role. Names of activities drift in case and
-- suffix: an activation is what says that it is one, was completed, and neither ended nor expired.
WITH entries AS (
    SELECT coalesce(nullif(lower(initiated_by_user_id), ''),
                    nullif(lower(initiated_by_service_principal_id), '')) AS actor,
           lower(activity_display_name) AS activity, target_resources, additional_details,
           activity_date_time AS moment, $recent AS is_recent
    FROM $events
    WHERE coalesce(lower(result), 'success') = 'success' AND $within
),
activations AS (
    SELECT coalesce(
               lower(list_filter(target_resources, lambda x:
                   lower(x.type) IN ('user', 'serviceprincipal') AND x.id <> '')[1].id),
               actor) AS who,
           list_distinct(list_filter(list_concat(
               list_transform(list_filter(target_resources, lambda x: lower(x.type) = 'role'),
                              lambda x: lower(x.id)),
               list_transform(list_filter(additional_details, lambda x:
                                  lower(x.key) IN ('roledefinitionoriginid', 'templateid')),
                              lambda x: lower(x.value))),
               lambda x: x <> '')) AS roles,
           moment, is_recent
    FROM entries
    WHERE activity LIKE 'add member to role%' AND activity LIKE '%pim activation%'
      AND activity LIKE '%completed%' AND activity NOT LIKE '%expired%'
)
SELECT actor AS who, '' AS what, 'change' AS kind, '' AS capacity,
       count(*) FILTER (WHERE is_recent) AS recent, count(*) AS number, max(moment) AS last
FROM entries WHERE actor IS NOT NULL GROUP BY ALL
UNION ALL
SELECT who, what, 'activation', '',
       count(*) FILTER (WHERE is_recent), count(*), max(moment)
FROM (SELECT who, unnest(roles) AS what, moment, is_recent FROM activations)
WHERE who IS NOT NULL GROUP BY ALL
