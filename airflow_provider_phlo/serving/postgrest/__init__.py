"""
REST by PostgREST: a view for each mart, roles that may read them, and row policies.

:mod:`.statements` says in SQL what there is to be, :mod:`.script` writes that into a file, :mod:`.readme` how it is
called; :mod:`.applying` compares it with a database and changes what differs.
"""
