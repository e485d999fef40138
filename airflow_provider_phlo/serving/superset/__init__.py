"""
Dashboards as code: what a folder says of databases, datasets, charts and dashboards (:mod:`.assets`), what Superset has
(:mod:`.server`), and how one becomes the other without losing what somebody edited by hand (:mod:`.importing`,
:mod:`.exporting`).
"""
