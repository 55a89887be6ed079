"""Activity logs: audits, sign-ins, provisioning; what was recorded and an invented past."""
