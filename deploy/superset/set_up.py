"""
Bring Superset's own database up to date, with its roles and one administrator.

Run again it changes what is new in this version of Superset, and the administrator's password.
"""

from __future__ import annotations

import os
from pathlib import Path

import superset
from flask_migrate import upgrade
from superset.app import create_app

ADMIN = "admin"


def set_up(password: str) -> None:
    """Do what ``superset db upgrade``, ``superset init`` and ``superset fab create-admin`` do, in one process."""
    from superset import security_manager
    from superset.extensions import appbuilder

    upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
    appbuilder.add_permissions(update_perms=True)
    security_manager.sync_role_definitions()
    known = security_manager.find_user(username=ADMIN)
    if known:
        security_manager.reset_password(known.id, password)
    else:
        role = security_manager.find_role("Admin")
        made = security_manager.add_user(ADMIN, "Superset", "Admin", "admin@localhost", role, password)
        if not made:
            raise SystemExit("Superset's administrator could not be made: its log says why.")


if __name__ == "__main__":
    app = create_app()
    with app.app_context():
        set_up(os.environ["PHLO_SUPERSET_PASSWORD"])
