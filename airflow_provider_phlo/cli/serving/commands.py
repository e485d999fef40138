"""
The commands about serving marts to applications, as data.

Every ``airflow`` call loads this module, so it imports next to nothing.
"""

from __future__ import annotations

from airflow_provider_phlo.cli.terminal.arguments import Argument, Command, Group, output

_API = "airflow_provider_phlo.cli.serving.api"
_LISTED = output("table", "json")
_SERVED = (
    Argument(
        ("--models",),
        {
            "help": "Names of models; * and ? are wildcards; may be given several times (mrt_*)",
            "action": "append",
            "metavar": "PATTERN",
        },
    ),
    Argument(
        ("--project",),
        {
            "help": "The folder of a dbt project (PHLO_DBT_PROJECT, else include/dbt); may be given several times",
            "action": "append",
            "metavar": "FOLDER",
        },
    ),
    Argument(("--schema",), {"help": "The schema that is served (api)", "default": "api"}),
    Argument(("--marts-schema",), {"help": "The schema that marts are published to (marts)", "default": "marts"}),
)
_HASURA = "airflow_provider_phlo.cli.serving.hasura"
_SOURCE = Argument(
    ("--source",), {"help": "Hasura's name for the database of the views (default)", "default": "default"}
)
_SERVER = Argument(
    ("--conn-id",),
    {
        "help": "The connection of Hasura, its password the admin secret (hasura_default); HASURA_GRAPHQL_ENDPOINT and "
        "HASURA_GRAPHQL_ADMIN_SECRET come before it",
        "default": "hasura_default",
    },
)
_FOLDER = Argument(
    ("--folder",), {"help": "Where the files are written (include/api)", "default": "include/api", "metavar": "FOLDER"}
)

SERVING_COMMANDS: tuple[Command | Group, ...] = (
    Group(
        name="api",
        help="Marts for applications: REST by PostgREST, GraphQL by Hasura",
        commands=(
            Command(
                name="generate-views",
                help="Write, and apply, the views, roles and row policies that PostgREST serves",
                description="Write include/api/views.sql and a README of requests: for each mart a view with the "
                "rights of whoever asks, comments from the model's docs, roles, grants, and row policies. --apply "
                "changes what differs in the database that marts are published to, in one transaction.",
                path=f"{_API}.generate_views",
                examples=(
                    "phlo api generate-views --models 'mrt_*'",
                    "phlo api generate-views --apply",
                    "phlo api generate-views --check",
                    "phlo api generate-views --apply --login .phlo/secrets/postgrest.env",
                ),
                exit_codes={
                    0: "it was done, or there was nothing to do; marts that are not published yet are named",
                    1: "it failed; with --check: the files are not those of the models",
                    2: "it was refused, and nothing was changed",
                },
                arguments=(
                    *_SERVED,
                    _FOLDER,
                    Argument(("--apply",), {"help": "Change the database too", "action": "store_true"}),
                    Argument(
                        ("--check",),
                        {"help": "Write nothing: only compare the files with the models", "action": "store_true"},
                    ),
                    Argument(
                        ("--prune",),
                        {"help": "Drop views made here that no model has any more", "action": "store_true"},
                    ),
                    Argument(
                        ("--withdraw",),
                        {
                            "help": "Drop the views of --models from the database until they are applied again: a "
                            "publication may then change the types of their columns",
                            "action": "store_true",
                        },
                    ),
                    Argument(
                        ("--login",),
                        {
                            "help": "Give authenticator a generated password, and write it to this file (PGRST_DB_URI)",
                            "metavar": "FILE",
                        },
                    ),
                    Argument(
                        ("--conn-id",),
                        {"help": "The connection of the marts (postgres_default)", "default": "postgres_default"},
                    ),
                    _LISTED,
                ),
            ),
            Group(
                name="hasura",
                help="GraphQL by Hasura: tracked views, relationships, select permissions",
                commands=(
                    Command(
                        name="export",
                        help="Write Hasura's metadata of what is served",
                        description="Write include/api/hasura-metadata.yaml (metadata version 3): each view as a "
                        "tracked table, relationships from dbt's tests of that name, and for each role the columns and "
                        "rows that it may select.",
                        path=f"{_HASURA}.export",
                        examples=("phlo api hasura export", "phlo api hasura export --check"),
                        exit_codes={
                            1: "it failed; with --check: the file is not what the models say",
                            2: "it was refused, and nothing was written",
                        },
                        arguments=(
                            *_SERVED,
                            _SOURCE,
                            _FOLDER,
                            Argument(
                                ("--check",),
                                {
                                    "help": "Write nothing: only compare the file with the models",
                                    "action": "store_true",
                                },
                            ),
                        ),
                    ),
                    Command(
                        name="track",
                        help="Put it into a server's metadata; what others have made there stays",
                        description="Read the metadata of a Hasura, put into it what is served, and replace it, unless "
                        "somebody has changed it meanwhile: then once more. What others have made there stays; where "
                        "it contradicts the models, it is named and nothing is changed.",
                        path=f"{_HASURA}.tracked",
                        examples=("phlo api hasura track",),
                        arguments=(*_SERVED, _SOURCE, _SERVER, _LISTED),
                    ),
                    Command(
                        name="diff",
                        help="Show what track would change",
                        path=f"{_HASURA}.differences",
                        examples=("phlo api hasura diff",),
                        exit_codes={
                            0: "nothing: the server has what the models say",
                            1: "track would change something, or it failed",
                            2: "it was refused",
                        },
                        arguments=(*_SERVED, _SOURCE, _SERVER, _LISTED),
                    ),
                ),
            ),
        ),
    ),
)
