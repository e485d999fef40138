"""
Serving: what applications read of the published marts, and as whom.

:mod:`.marts` reads from dbt's manifest what is to be served; :mod:`.postgrest` makes views, roles and row policies of
it for REST, :mod:`.hasura` the metadata for GraphQL.
"""
