-- Direct holds stored: once with all that is known of each, and lean, sorted both ways, for the walks.
CREATE TABLE internal.grants AS SELECT * FROM made_grants;

CREATE TABLE internal.holds_by_entitlement AS
SELECT eix, pix, state, reach FROM internal.grants GROUP BY ALL ORDER BY eix, pix, state;

CREATE TABLE internal.holds_by_principal AS
SELECT pix, eix, state, reach FROM internal.holds_by_entitlement ORDER BY pix, eix, state;

CREATE TABLE internal.licensed_by_entitlement AS SELECT * FROM made_licensed ORDER BY ALL;

CREATE TABLE internal.licensed_by_principal AS
SELECT user_ix, eix, group_ix FROM internal.licensed_by_entitlement ORDER BY ALL;
