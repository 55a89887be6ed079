-- The ids that no table lists, and everybody: the last principals to get their numbers.
INSERT INTO internal.principals
SELECT ((SELECT count(*) FROM internal.principals) + row_number() OVER (ORDER BY id) - 1)::INTEGER,
       *
FROM unlisted;

-- Everybody, as one principal that is never expanded.
INSERT INTO internal.principals
SELECT count(*)::INTEGER, 'all_users', 'all_users', 'All users', NULL, NULL, NULL, NULL, NULL, false
FROM internal.principals;
