"""
GraphQL by Hasura: the views of the API as tracked tables, with relationships and select permissions.

:mod:`.metadata` makes Hasura's metadata of what is served, with :mod:`.filters` for row policies and :mod:`.names` for
what GraphQL cannot call by its name; :mod:`.merging` puts it into what a server has, and :mod:`.server` asks it.
"""
