"""A self-hosted pipeline for Microsoft Entra ID."""
