-- Groups in groups: what closure and paths walk on. A group that is its own member says nothing.
CREATE TABLE internal.nesting AS
SELECT member_ix, group_ix, state FROM internal.members_by_group
WHERE is_group AND member_ix <> group_ix
ORDER BY member_ix, group_ix, state;
