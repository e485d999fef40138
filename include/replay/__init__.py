"""
Recorded API traffic for the demo: a generator of seeded recordings and a server that plays them back.

``python -m include.replay --port 0 --home DIR`` (see ``--help``) serves a GitHub user below ``/github`` and a
Nightscout site below ``/nightscout``. Both behave as the real ones do on an ordinary bad day: pages overlap, one
record a day is broken, and ``POST /replay/advance`` (with the header that Nightscout asks for) lets a little time pass:
readings are corrected, some come late,
new events happen and a repository gains stars. Nothing but the standard library is used.
"""
