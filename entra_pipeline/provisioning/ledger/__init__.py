"""The ledger of provisioning: durable before anything is written to a tenant.

Ledger        filing, planning, approving, looking up, the kill switch
verify, Head  whether it is what it became step by step
"""

from entra_pipeline.provisioning.ledger.audit import Finding, Head, Report, head, verify
from entra_pipeline.provisioning.ledger.rows import Approval, Filed
from entra_pipeline.provisioning.ledger.store import Ledger

__all__ = ["Approval", "Filed", "Finding", "Head", "Ledger", "Report", "head", "verify"]
