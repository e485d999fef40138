"""
The forms that contracts are written in.

:mod:`.reading` recognises the form of a file: a short one (:mod:`.short_form`), or the Open Data Contract Standard v3
(:mod:`.odcs`); :mod:`.standard_fields` lists the fields of the standard.
"""
