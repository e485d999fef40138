"""
Remove the rows of a person from everywhere, and prove it: what ``phlo forget`` does.

Each place can be searched and cleaned (:mod:`.places`): tables with all their history (:mod:`.tables`, :mod:`.traces`,
:mod:`.holdings`, :mod:`.rewriting`, :mod:`.strays`), quarantines (:mod:`.records`), the staging area
(:mod:`.staging`), marts (:mod:`.postgres`), exports (:mod:`.duckdb_file`) and results of
checks (:mod:`.mentions`). What is made from a table is known by
lineage (:mod:`.downstream`); :mod:`.gathering` puts the places together, :mod:`.everywhere` cleans them.
"""
