"""What is served, as SQL statements: the same in the file that people review and in what is applied."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import AUTHENTICATOR, Relationship, Served, ServedMart
from airflow_provider_phlo.serving.names import BYTES
from airflow_provider_phlo.sql import literal, quote_identifier

SCHEMA = "api"
# by this, policies of ours are known
POLICY = "phlo api "


@dataclass(frozen=True)
class Target:
    """
    Where marts are, and where their views are.

    :param marts: the schema that marts are published to.
    :param schema: the schema that PostgREST serves.
    """

    marts: str = "marts"
    schema: str = SCHEMA

    def table(self, mart: ServedMart) -> str:
        """Return the mart's name as SQL."""
        return f"{quote_identifier(self.marts)}.{quote_identifier(mart.table)}"

    def view(self, mart: ServedMart) -> str:
        """Return the view's name as SQL."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(mart.name)}"


def names(columns: Sequence[str]) -> str:
    """Return columns as SQL."""
    return ", ".join(map(quote_identifier, columns))


def create_role(role: str) -> str:
    """Return what makes a role that requests come as: it may not log in."""
    return f"CREATE ROLE {quote_identifier(role)} NOLOGIN NOINHERIT"


def grant_role(role: str) -> str:
    """Return what lets the role that PostgREST logs in as become another one, on any server."""
    return f"GRANT {quote_identifier(role)} TO {quote_identifier(AUTHENTICATOR)}"


def grant_role_only(role: str) -> str:
    """Return the same for PostgreSQL 16 and later, where each membership says whether its rights are inherited."""
    return f"{grant_role(role)} WITH INHERIT FALSE, SET TRUE"


@dataclass(frozen=True)
class ViewStatements:
    """
    The statements that make one view what it is to be.

    :param columns: the columns in the order in which the view is to have them; those of the mart by default.
    """

    target: Target
    mart: ServedMart
    roles: tuple[str, ...]
    columns: tuple[str, ...] | None = None

    @cached_property
    def view(self) -> str:
        """Return the view's name as SQL."""
        return self.target.view(self.mart)

    @cached_property
    def table(self) -> str:
        """Return the mart's name as SQL."""
        return self.target.table(self.mart)

    @cached_property
    def served(self) -> tuple[str, ...]:
        """Return the columns of the view; none if they are all that the table has."""
        return self.columns if self.columns is not None else tuple(column.name for column in self.mart.columns)

    def create(self) -> str:
        """Return what makes the view."""
        columns = ",\n".join(f"    {quote_identifier(name)}" for name in self.served) or "    *"
        return (
            f"CREATE OR REPLACE VIEW {self.view} WITH (security_invoker = true) AS\nSELECT\n{columns}\n"
            f"FROM {self.table}"
        )

    def comments(self) -> Iterator[str]:
        """Yield what says what the view and its columns are; PostgREST's OpenAPI shows it."""
        yield f"COMMENT ON VIEW {self.view} IS {literal(self.mart.comment) if self.mart.comment else 'NULL'}"
        said = {column.name: column.comment for column in self.mart.columns} or dict.fromkeys(self.served, "")
        for name, text in said.items():
            yield f"COMMENT ON COLUMN {self.view}.{quote_identifier(name)} IS {literal(text) if text else 'NULL'}"

    def revoke(self) -> Iterator[str]:
        """Yield what takes from all roles of the API what they may do with the view and its mart."""
        everybody = names(self.roles)
        yield f"REVOKE ALL ON {self.view} FROM PUBLIC, {everybody}"
        yield f"REVOKE ALL ON {self.table} FROM {everybody}"

    def grants(self) -> Iterator[str]:
        """
        Yield what lets roles read: their columns of the view, and all of its columns of the mart.

        The view reads the mart as whoever asks, and all of its columns, whichever are asked for. That a role cannot
        read the others in the mart itself is since it may not use the schema of the marts: it cannot name one.
        """
        for role in self.mart.roles:
            columns = self.mart.readable_by(role) if self.mart.columns else self.served
            if self.served and not columns:
                continue
            some = "" if set(columns) == set(self.served) else f" ({names(columns)})"
            served = f" ({names(self.served)})" if self.served else ""
            yield f"GRANT SELECT{some} ON {self.view} TO {quote_identifier(role)}"
            yield f"GRANT SELECT{served} ON {self.table} TO {quote_identifier(role)}"

    def policies(self) -> Iterator[str]:
        """Yield what decides which rows roles see; the mart's owner, who publishes, is not subject to it."""
        for role, condition in self.mart.policies.items():
            name = quote_identifier(policy_name(role))
            yield f"DROP POLICY IF EXISTS {name} ON {self.table}"
            yield (
                f"{_create_policy(role)}{self.table}\n    FOR SELECT TO {quote_identifier(role)} USING (\n"
                f"        {condition}\n    )"
            )
        if self.mart.policies:
            yield f"ALTER TABLE {self.table} ENABLE ROW LEVEL SECURITY"

    def all(self) -> Iterator[str]:
        """Yield all of them, in order."""
        yield self.create()
        yield from self.comments()
        yield from self.revoke()
        yield from self.policies()
        yield from self.grants()

    def declared(self) -> str:
        """Return what the model declares, as one text: all of them but what others are not to have."""
        return "\n".join([self.create(), *self.comments(), *self.policies(), *self.grants()])


def policy_name(role: str) -> str:
    """Return the name of the policy for a role: one of its own, however long the role's name is."""
    return short_name(POLICY + role)


def short_name(name: str) -> str:
    """Return a name that PostgreSQL keeps; one that has to be cut ends in a hash of all of it."""
    if len(name.encode()) <= BYTES:
        return name
    mark = "_" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: BYTES - len(mark)].decode(errors="ignore") + mark


def policy_role(statement: str, mart: ServedMart) -> str | None:
    """Return whose policy a statement makes, if it makes one."""
    makes = (role for role in mart.policies if statement.startswith(_create_policy(role)))
    return next(makes, None)


def _create_policy(role: str) -> str:
    return f"CREATE POLICY {quote_identifier(policy_name(role))} ON "


def readers_of_schemas(served: Served) -> list[str]:
    """Return the roles that use the schema of views: those that read something."""
    return sorted({role for mart in served.marts for role in mart.roles})


def grant_usage(schema: str, role: str) -> str:
    """Return what lets a role name what is in a schema."""
    return f"GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO {quote_identifier(role)}"


def revoke_usage(schema: str, role: str) -> str:
    """Return what takes a schema from a role; views that read of it go on to."""
    return f"REVOKE USAGE ON SCHEMA {quote_identifier(schema)} FROM {quote_identifier(role)}"


@dataclass(frozen=True)
class Embedding:
    """
    A function by which PostgREST embeds the rows of one view in those of another.

    :param name: what it is called in a request: ``select=*,NAME(*)``.
    :param source: the view that is asked.
    :param found: the view whose rows are embedded.
    :param single: whether there is at most one.
    :param by: the column that has the other's values, by which two ways between the same views differ.
    """

    name: str
    source: ServedMart
    source_column: str
    found: ServedMart
    found_column: str
    single: bool
    by: str

    def signature(self, target: Target) -> str:
        """Return the function's name and argument as SQL."""
        return f"{quote_identifier(target.schema)}.{quote_identifier(self.name)}({target.view(self.source)})"

    def statements(self, target: Target, roles: Sequence[str]) -> Iterator[str]:
        """Yield what makes the function, for those who read both views."""
        signature, found = self.signature(target), target.view(self.found)
        yield (
            f"CREATE OR REPLACE FUNCTION {signature}\n    RETURNS SETOF {found} {'ROWS 1 ' if self.single else ''}"
            f"LANGUAGE sql STABLE AS {body(self.query(target))}"
        )
        yield f"REVOKE ALL ON FUNCTION {signature} FROM {', '.join(['PUBLIC', *map(quote_identifier, roles)])}"
        readers = [role for role in self.source.roles if self._serves(role)]
        if readers:
            yield f"GRANT EXECUTE ON FUNCTION {signature} TO {names(readers)}"

    def _serves(self, role: str) -> bool:
        """Return whether a role reads all that the function needs: it returns whole rows."""
        readable = self.found.readable_by(role)
        return len(readable) == len(self.found.columns) and self.source_column in self.source.readable_by(role)

    def query(self, target: Target) -> str:
        """Return what the function asks."""
        same = f"{quote_identifier(self.found_column)} = $1.{quote_identifier(self.source_column)}"
        return f"SELECT * FROM {target.view(self.found)} WHERE {same}"


def body(query: str) -> str:
    """Return the text of a function, quoted so that no name in it can end it."""
    tag = "phlo"
    while f"${tag}$" in query:
        tag += "_"
    return f"${tag}$ {query} ${tag}$"


def embeddings(relationships: Sequence[Relationship]) -> list[Embedding]:
    """
    Return the functions for relationships, both ways.

    They are called as the view that they lead to; where two of a view lead to the same one, the column is added.

    :raises ConfigurationError: two would be called the same.
    """
    both = []
    for each in relationships:
        by = each.many_column
        both.append(
            Embedding(each.one.name, each.many, each.many_column, each.one, each.one_column, each.unique, by=by)
        )
        both.append(Embedding(each.many.name, each.one, each.one_column, each.many, each.many_column, False, by=by))
    ways = [(each.source.name, each.name) for each in both]
    found = [
        each if ways.count(way) == 1 and not _is_column(each) else _with_column(each)
        for each, way in zip(both, ways, strict=True)
    ]
    for one, other in pairwise(sorted((each.source.name, each.name) for each in found)):
        if one == other:
            raise ConfigurationError(
                f"Two relationships of {one[0]} would both be called {one[1]}: give a model another meta.api_name."
            )
    return sorted(found, key=lambda each: (each.source.name, each.name))


def _is_column(each: Embedding) -> bool:
    """Return whether the view that is asked has a column of that name, which PostgREST would take it for."""
    return any(column.name == each.name for column in each.source.columns)


def _with_column(each: Embedding) -> Embedding:
    return replace(each, name=short_name(f"{each.name}_by_{each.by}"))
