-- What the tables say of the touched pairs (schema part), and of touched resources (schema defs).
CREATE SCHEMA part;
CREATE VIEW part.group_owners AS
SELECT r.* FROM main.group_owners r SEMI JOIN touched.pairs t
    ON t.resource_id = r.group_id AND t.principal_id = r.owner_id;
CREATE VIEW part.group_assignment_schedule_instances AS
SELECT r.* FROM main.group_assignment_schedule_instances r SEMI JOIN touched.pairs t
    ON t.resource_id = r.group_id AND t.principal_id = r.principal_id;
CREATE VIEW part.group_eligibility_schedule_instances AS
SELECT r.* FROM main.group_eligibility_schedule_instances r SEMI JOIN touched.pairs t
    ON t.resource_id = r.group_id AND t.principal_id = r.principal_id;
CREATE VIEW part.service_principal_owners AS
SELECT r.* FROM main.service_principal_owners r SEMI JOIN touched.pairs t
    ON t.resource_id = r.service_principal_id AND t.principal_id = r.owner_id;
CREATE VIEW part.application_owners AS
SELECT r.* FROM main.application_owners r SEMI JOIN touched.pairs t
    ON t.resource_id = r.application_id AND t.principal_id = r.owner_id;
CREATE VIEW part.device_owners AS
SELECT r.* FROM main.device_owners r SEMI JOIN touched.pairs t
    ON t.resource_id = r.device_id AND t.principal_id = r.owner_id;
CREATE VIEW part.administrative_unit_members AS
SELECT r.* FROM main.administrative_unit_members r SEMI JOIN touched.pairs t
    ON t.resource_id = r.unit_id AND t.principal_id = r.member_id;
CREATE VIEW part.role_assignments AS
SELECT r.* FROM main.role_assignments r SEMI JOIN touched.pairs t
    ON t.resource_id = r.role_definition_id AND t.principal_id = r.principal_id;
CREATE VIEW part.role_assignment_schedule_instances AS
SELECT r.* FROM main.role_assignment_schedule_instances r SEMI JOIN touched.pairs t
    ON t.resource_id = r.role_definition_id AND t.principal_id = r.principal_id;
CREATE VIEW part.role_eligibility_schedule_instances AS
SELECT r.* FROM main.role_eligibility_schedule_instances r SEMI JOIN touched.pairs t
    ON t.resource_id = r.role_definition_id AND t.principal_id = r.principal_id;
CREATE VIEW part.app_role_assignments AS
SELECT r.* FROM main.app_role_assignments r SEMI JOIN touched.pairs t
    ON t.resource_id = r.resource_id AND t.principal_id = r.principal_id;
CREATE VIEW part.service_principals AS
SELECT r.* FROM main.service_principals r SEMI JOIN touched.pairs t
    ON t.resource_id = r.id AND t.principal_id = 'all_users';
CREATE VIEW part.oauth2_permission_grants AS
SELECT r.* FROM main.oauth2_permission_grants r SEMI JOIN touched.pairs t
    ON t.resource_id = r.resource_id AND t.principal_id = r.client_id;
-- A group's licence is told by the group and by its members.
CREATE VIEW part.license_assignments AS
SELECT r.* FROM main.license_assignments r SEMI JOIN touched.pairs t
    ON t.resource_id = r.sku_id AND t.principal_id = r.user_id
UNION ALL
SELECT r.* FROM main.license_assignments r
SEMI JOIN touched.pairs t ON t.resource_id = r.sku_id AND t.principal_id = r.source_group_id
ANTI JOIN touched.pairs u ON u.resource_id = r.sku_id AND u.principal_id = r.user_id;
CREATE VIEW part.groups AS
SELECT r.* FROM main.groups r SEMI JOIN touched.pairs t ON t.principal_id = r.id;

CREATE SCHEMA defs;
CREATE VIEW defs.groups AS
SELECT r.* FROM main.groups r SEMI JOIN touched.resources t ON t.id = r.id;
CREATE VIEW defs.service_principals AS
SELECT r.* FROM main.service_principals r SEMI JOIN touched.resources t ON t.id = r.id;
CREATE VIEW defs.applications AS
SELECT r.* FROM main.applications r SEMI JOIN touched.resources t ON t.id = r.id;
CREATE VIEW defs.role_definitions AS
SELECT r.* FROM main.role_definitions r SEMI JOIN touched.resources t ON t.id = r.id;
CREATE VIEW defs.subscribed_skus AS
SELECT r.* FROM main.subscribed_skus r SEMI JOIN touched.resources t ON t.id = r.sku_id;
CREATE VIEW defs.administrative_units AS
SELECT r.* FROM main.administrative_units r SEMI JOIN touched.resources t ON t.id = r.id;
CREATE VIEW defs.devices AS
SELECT r.* FROM main.devices r SEMI JOIN touched.resources t ON t.id = r.id;
CREATE VIEW defs.app_roles AS
SELECT r.* FROM main.app_roles r SEMI JOIN touched.resources t ON t.id = r.resource_id;
CREATE VIEW defs.delegated_permissions AS
SELECT r.* FROM main.delegated_permissions r SEMI JOIN touched.resources t ON t.id = r.resource_id;
