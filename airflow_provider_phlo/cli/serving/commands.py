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
_PRUNED = Argument(
    ("--prune",),
    {
        "help": "Take away what was made here for views that no model is served as any more",
        "action": "store_true",
    },
)
_FOLDER = Argument(
    ("--folder",), {"help": "Where the files are written (include/api)", "default": "include/api", "metavar": "FOLDER"}
)

_SUPERSET = "airflow_provider_phlo.cli.serving.superset"
_SUPERSET_SERVER = (
    Argument(
        ("--url",),
        {
            "help": "Where Superset answers (http://127.0.0.1:8088)",
            "default": "http://127.0.0.1:8088",
            "metavar": "URL",
        },
    ),
    Argument(("--user",), {"help": "An administrator of Superset (admin)", "default": "admin"}),
    Argument(
        ("--folder",),
        {"help": "Where the files are (include/superset)", "default": "include/superset", "metavar": "FOLDER"},
    ),
)
_DATABASE_URI = Argument(
    ("--database-uri",),
    {
        "help": "The address of the marts' database as Superset reaches it, without a password (that of the file)",
        "metavar": "URI",
    },
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
                        arguments=(*_SERVED, _SOURCE, _SERVER, _PRUNED, _LISTED),
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
                        arguments=(*_SERVED, _SOURCE, _SERVER, _PRUNED, _LISTED),
                    ),
                ),
            ),
        ),
    ),
    Group(
        name="superset",
        help="Dashboards as code: Superset's databases, datasets, charts and dashboards as files",
        commands=(
            Command(
                name="import",
                help="Bring the dashboards of include/superset into Superset",
                description="Create what Superset does not have yet. What it has, and differs from the file, was "
                "edited there, or the file is newer: then nothing is imported, unless --keep or --overwrite says which "
                "of the two counts. The password of Superset's user is read from PHLO_SUPERSET_PASSWORD, that of the "
                "marts' database from PHLO_MARTS_READER_PASSWORD.",
                path=f"{_SUPERSET}.import_assets",
                examples=("phlo superset import", "phlo superset import --overwrite"),
                exit_codes={
                    0: "Superset has what the files say; with --keep, what was edited there is named",
                    1: "it failed",
                    2: "it was refused, and nothing was changed",
                },
                arguments=(
                    *_SUPERSET_SERVER,
                    _DATABASE_URI,
                    Argument(
                        ("--overwrite",),
                        {
                            "help": "The files count: replace what differs (a copy of what was there is kept), and set "
                            "the database's password again",
                            "action": "store_true",
                        },
                    ),
                    Argument(
                        ("--keep",),
                        {"help": "Superset counts: leave what differs as it is", "action": "store_true"},
                    ),
                    _LISTED,
                ),
            ),
            Command(
                name="export",
                help="Write dashboards that were made or edited in Superset to include/superset",
                description="Write dashboards, and their charts, datasets and databases, as files that can be reviewed "
                "and committed: without passwords, and without numbers of one server.",
                path=f"{_SUPERSET}.export",
                examples=("phlo superset export", "phlo superset export --dashboard sales"),
                exit_codes={0: "the files say what Superset has", 1: "it failed", 2: "it was refused"},
                arguments=(
                    *_SUPERSET_SERVER,
                    Argument(
                        ("--dashboard",),
                        {
                            "help": "Its title or slug; may be given several times (the dashboards of the folder)",
                            "action": "append",
                            "metavar": "NAME",
                        },
                    ),
                    _LISTED,
                ),
            ),
            Command(
                name="diff",
                help="Say where include/superset and Superset differ",
                description="Compare each file with what Superset has; empty values and numbers of one server do not "
                "count.",
                path=f"{_SUPERSET}.diff",
                examples=("phlo superset diff", "phlo superset diff --output json"),
                exit_codes={0: "they say the same", 1: "they differ, or it failed", 2: "it was refused"},
                arguments=(*_SUPERSET_SERVER, _DATABASE_URI, _LISTED),
            ),
        ),
    ),
)
