"""`entra-pipeline demo`: a simulated tenant, synced through Dagster, and five questions answered.

Here: what the demo keeps in `.demo/`, how it runs, and the words around it. The answers themselves
come from the public commands, run as a person would run them.
"""
