"""Commands that have the tenant changed: asking, planning, approving, carrying out, looking.

Here: parsing, printing, exit codes. Not here: anything that decides, which is in
`entra_pipeline.provisioning`. None of these commands loads Dagster.
"""
