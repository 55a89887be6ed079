"""Exchange Online's administration, as far as distribution lists go: a mailbox world of its own.

`endpoint` is what HTTP sees (InvokeCommand), `cmdlets` what commands do, `lists` what Exchange
holds of groups and when Entra learns of it, `recipients` who can receive mail, `refusals` the
errors. Nothing of Graph is answered here.
"""
