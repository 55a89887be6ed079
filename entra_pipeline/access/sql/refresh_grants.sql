-- The holds of the touched pairs put back. Run where unqualified names are `part`.
CREATE TEMP TABLE new_grants AS SELECT * FROM made_grants;
INSERT INTO internal.grants SELECT * FROM new_grants;
INSERT INTO internal.holds_by_entitlement
SELECT eix, pix, state, reach FROM new_grants GROUP BY ALL ORDER BY eix, pix, state;
INSERT INTO internal.holds_by_principal
SELECT pix, eix, state, reach FROM new_grants GROUP BY ALL ORDER BY pix, eix, state;

CREATE TEMP TABLE new_licensed AS SELECT * FROM made_licensed;
INSERT INTO internal.licensed_by_entitlement SELECT * FROM new_licensed ORDER BY ALL;
INSERT INTO internal.licensed_by_principal
SELECT user_ix, eix, group_ix FROM new_licensed ORDER BY ALL;
