"""Changes to the tenant: asked for, planned, approved, carried out once, confirmed, taken back.

request -> plan -> approval -> operation -> attempt -> verification. Each is a value that can be
printed and compared; nothing here needs an orchestrator.
"""
