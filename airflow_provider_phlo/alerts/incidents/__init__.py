"""
Incidents: what is known of them (:mod:`.state`) and where it is kept (:mod:`.store`).

:mod:`.transitions` is what verdicts and time make of them, :mod:`.handling` what people do about them.
"""
