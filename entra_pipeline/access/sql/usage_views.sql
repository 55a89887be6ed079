-- The public names of use, with the ids put back.

CREATE VIEW usage AS
SELECT p.id AS principal_id, a.app_id,
       CASE u.capacity WHEN 0 THEN 'client' ELSE 'resource' END AS capacity,
       CASE WHEN u.kind = 0 THEN 'interactive' WHEN u.kind = 1 THEN 'non_interactive'
            WHEN p.kind = 'managed_identity' THEN 'managed_identity'
            ELSE 'service_principal' END AS kind,
       a.service_principal_id, u.last AS last_used, u.used_30d, u.used_90d
FROM internal.application_use u
JOIN internal.used_applications a USING (aix)
JOIN internal.principals p ON p.ix = u.pix;

CREATE VIEW role_usage AS
SELECT p.id AS principal_id, u.role_definition_id, u.last AS last_activation,
       u.used_30d AS activations_30d, u.used_90d AS activations_90d
FROM internal.role_use u JOIN internal.principals p ON p.ix = u.pix;

CREATE VIEW principal_usage AS
SELECT p.id AS principal_id, u.interactive AS last_interactive,
       u.non_interactive AS last_non_interactive, u.successful AS last_successful,
       u.service_principal AS last_service_principal, u.source, u.idle_since,
       u.last_change AS last_directory_change, u.changes_30d AS directory_changes_30d,
       u.changes_90d AS directory_changes_90d
FROM internal.principal_use u JOIN internal.principals p ON p.ix = u.pix;
