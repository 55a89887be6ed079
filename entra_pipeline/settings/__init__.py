"""Every setting of the product.

`declared` says what settings there are, `sign_in` what a sign-in needs altogether, `loaded` reads
them from the environment and `.env`. The reference `docs/settings.md` and `.env.example` are
written from them by `python -m entra_pipeline.settings_reference`.
"""

from entra_pipeline.settings.declared import PREFIX, Auth, variable
from entra_pipeline.settings.loaded import Settings, SettingsError

__all__ = ["PREFIX", "Auth", "Settings", "SettingsError", "variable"]
