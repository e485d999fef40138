"""
Bring OpenMetadata up to date with a catalog: what is there is listed first, and only what differs is sent.

Whatever ends it half-way, the next time goes on: what has been sent of a table is noted at the table when it has been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from airflow_provider_phlo.catalogs.openmetadata import bodies
from airflow_provider_phlo.catalogs.openmetadata.bodies import Body
from airflow_provider_phlo.catalogs.openmetadata.described import CatalogFacts, Check, TableFacts
from airflow_provider_phlo.catalogs.openmetadata.marks import Mark
from airflow_provider_phlo.catalogs.openmetadata.merging import docs_hash, merge_table, short_hash
from airflow_provider_phlo.catalogs.openmetadata.names import below, fully_qualified, in_path
from airflow_provider_phlo.catalogs.openmetadata.server import NEWEST_MAJOR, WITH_CONTRACTS, OpenMetadata, RefusedError
from airflow_provider_phlo.exceptions import ConfigurationError

_FIELDS = "columns,owners,tags"
# a table that others change meanwhile is read again this often
_ROUNDS = 3
_EXISTS = 409
_CHANGED_MEANWHILE = (_EXISTS, 412)


@dataclass(frozen=True)
class Wanted:
    """
    What is synchronised besides the tables themselves.

    :param is_whole: whether these are all tables of the catalog: what is not among them is gone.
    """

    lineage: bool = False
    quality: bool = False
    contracts: bool = False
    is_whole: bool = False


@dataclass
class SyncResult:
    """
    What was done, or would be.

    :param created: new tables.
    :param updated: for each table that was changed, what of it.
    :param kept: what people have written there, and stays.
    :param unknown_owners: owners that it has no user or team for; their tables are sent without.
    :param warnings: what is unusual about the server.
    :param gone: tables there that are not here any more; nothing is removed.
    :param problems: what could not be done, and why.
    :param requests: how many were made.
    """

    tables: int = 0
    created: list[str] = field(default_factory=list)
    updated: dict[str, list[str]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    unknown_owners: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    requests: int = 0

    @property
    def unchanged(self) -> int:
        """Return how many tables were as they should be."""
        return self.tables - len({*self.created, *self.updated})

    def note(self, table: str, what: str) -> None:
        """Note that something of a table was changed."""
        if table not in self.created:
            self.updated.setdefault(table, []).append(what)

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        lists = {
            name: list(getattr(self, name))
            for name in ("created", "kept", "unknown_owners", "warnings", "gone", "problems")
        }
        counts = {"tables": self.tables, "unchanged": self.unchanged, "requests": self.requests}
        return {**counts, **lists, "updated": dict(self.updated)}


def sync_catalog(
    server: OpenMetadata,
    service: str,
    facts: CatalogFacts,
    wanted: Wanted | None = None,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> SyncResult:
    """
    Bring a server up to date.

    :param service: what the service of the catalog is called there.
    :param wanted: what is synchronised besides tables.
    :param dry_run: only say what would be sent.
    :param progress: is called with the number of tables that are done.
    :raises ConfigurationError: the server is too old, not an OpenMetadata, or does not accept the token.
    :raises TransientError: it does not answer; the next time goes on.
    """
    return _Sync(server, fully_qualified(service), service, facts, wanted or Wanted(), dry_run).run(progress)


@dataclass
class _Table:
    """
    A table, here and there.

    :param entity: as the server has it; None if it lacks it.
    :param sent: what of it has been sent.
    """

    facts: TableFacts
    fqn: str
    entity: dict[str, Any] | None
    sent: Mark


class _Sync:
    def __init__(
        self, server: OpenMetadata, service_fqn: str, service: str, facts: CatalogFacts, wanted: Wanted, dry_run: bool
    ) -> None:
        self._server = server
        self._service = service
        self._service_fqn = service_fqn
        self._database_fqn = below(service_fqn, bodies.DATABASE)
        self._facts = facts
        self._wanted = wanted
        self._dry_run = dry_run
        self._result = SyncResult()
        self._made: set[str] = set()
        self._owners: dict[str, Body | None] = {}
        self._tables: dict[str, _Table] = {}

    def run(self, progress: Callable[[int, int], None]) -> SyncResult:
        version = self._server.version()
        if self._wanted.contracts and version < WITH_CONTRACTS:
            raise ConfigurationError(
                f"Contracts need OpenMetadata {'.'.join(map(str, WITH_CONTRACTS))}, and {self._server.url} is "
                f"{'.'.join(map(str, version))}: synchronise without them."
            )
        if version[0] > NEWEST_MAJOR:
            found = ".".join(map(str, version))
            self._result.warnings.append(
                f"{self._server.url} is OpenMetadata {found}; what is sent was checked for versions up to "
                f"{NEWEST_MAJOR}."
            )
        self._find_tables()
        for done, table in enumerate(self._tables.values(), 1):
            self._guarded(table, "the table", self._sync_table)
            progress(done, len(self._tables))
        # lineage needs the tables at both of its ends
        for table in self._tables.values():
            if table.entity is not None or self._dry_run:
                self._sync_aspects(table)
        self._result.requests = self._server.requests
        return self._result

    # --- tables

    def _find_tables(self) -> None:
        listed = {
            entity["fullyQualifiedName"]: entity
            for entity in self._server.pages("/tables", database=self._database_fqn, fields=_FIELDS)
        }
        for facts in self._facts.tables:
            self._result.tables += 1
            try:
                fqn = below(self._database_fqn, facts.namespace, facts.name)
                bodies.columns(facts)
            except ConfigurationError as error:
                self._result.problems.append(f"{facts.id} is left out: {error}")
                continue
            entity = listed.pop(fqn, None)
            self._tables[facts.id] = _Table(facts, fqn, entity, Mark.read((entity or {}).get("sourceHash")))
        if self._wanted.is_whole:
            self._result.gone = sorted(listed)

    def _guarded(self, table: _Table, what: str, work: Callable[[_Table], None]) -> None:
        """Do something for a table; what the server refuses of one keeps no other back."""
        try:
            work(table)
        except RefusedError as error:
            self._result.problems.append(f"{table.facts.id}: {what} was refused: {error}")

    def _sync_table(self, table: _Table) -> None:
        if table.entity is None:
            self._create(table)
            return
        merged = merge_table(table.entity, self._body(table), table.sent.docs)
        self._result.kept += [f"{table.facts.id}: {each}" for each in merged.kept]
        owners = self._missing_owners(table.entity, table.facts)
        if merged.operations or owners:
            names = [each["path"].lstrip("/") for each in merged.operations]
            self._result.note(table.facts.id, ", ".join([*names, *(["owners"] if owners else [])]))
            if not self._dry_run:
                self._update(table)

    def _create(self, table: _Table) -> None:
        self._result.created.append(table.facts.id)
        if self._dry_run:
            return
        self._ensure_schema(table.facts.namespace)
        body = self._body(table)
        owner = self._owner(table.facts.owner)
        if owner is not None:
            body["owners"] = [owner]
        mark = Mark(docs=docs_hash(body))
        created = self._create_once("/tables", {**body, "sourceHash": str(mark)})
        if created is None:  # somebody was faster: theirs is not replaced
            self._update(table)
            return
        table.entity, table.sent = created, mark

    def _body(self, table: _Table) -> Body:
        return bodies.table(below(self._database_fqn, table.facts.namespace), table.facts)

    def _update(self, table: _Table) -> None:
        """Change a table as it is now: it may have changed since it was listed, and while it is changed."""
        for _ in range(_ROUNDS):
            entity, etag = self._server.get_with_etag(f"/tables/name/{in_path(table.fqn)}", fields=_FIELDS)
            if entity is None:
                raise RefusedError(
                    "it was deleted there meanwhile, or is among what was deleted: restore it there.", 404
                )
            merged = merge_table(entity, self._body(table), table.sent.docs)
            operations = [*merged.operations, *self._missing_owners(entity, table.facts)]
            mark = replace(table.sent, docs=merged.docs)
            try:
                table.entity = self._server.patch(f"/tables/{entity['id']}", [*operations, _marked(entity, mark)], etag)
            except RefusedError as error:
                if error.status not in _CHANGED_MEANWHILE:
                    raise
                refused = error
                continue
            table.sent = mark
            return
        raise refused

    def _set_mark(self, table: _Table, mark: Mark) -> None:
        assert table.entity is not None
        operation = _marked(table.entity, mark)
        self._server.patch(f"/tables/{table.entity['id']}", [operation])
        table.entity["sourceHash"] = operation["value"]
        table.sent = mark

    def _ensure_schema(self, namespace: str) -> None:
        schema_fqn = below(self._database_fqn, namespace)
        if not self._made:
            self._create_once("/services/databaseServices", bodies.service(self._service))
            self._create_once("/databases", bodies.database(self._service_fqn))
        if schema_fqn not in self._made:
            self._create_once("/databaseSchemas", bodies.schema(self._database_fqn, namespace))
            self._made.add(schema_fqn)

    # --- owners

    def _missing_owners(self, entity: Mapping[str, Any], facts: TableFacts) -> list[Body]:
        """Return the operation that gives a table its owner, if it has none."""
        owner = None if entity.get("owners") else self._owner(facts.owner)
        return [] if owner is None else [{"op": "add", "path": "/owners", "value": [owner]}]

    def _owner(self, name: str | None) -> Body | None:
        """Return a reference to the user or team of that name; each is looked up once."""
        if not name:
            return None
        if name not in self._owners:
            self._owners[name] = self._find_owner(name)
            if self._owners[name] is None:
                self._result.unknown_owners.append(name)
        return self._owners[name]

    def _find_owner(self, name: str) -> Body | None:
        for kind in ("user", "team"):
            found = self._server.get(f"/{kind}s/name/{in_path(fully_qualified(name))}")
            if found is not None:
                return {"id": found["id"], "type": kind}
        return None

    # --- what belongs to tables

    def _sync_aspects(self, table: _Table) -> None:
        facts, name = table.facts, table.facts.id
        aspects: list[tuple[str, Any, Callable[[_Table], None]]] = []
        if facts.snapshot_id is not None:
            aspects.append(("profile", [facts.snapshot_id, facts.rows], self._send_profile))
        if self._wanted.lineage and name in self._facts.parents:
            parents = self._facts.parents[name], self._facts.origins.get(name, {})
            aspects.append(("lineage", parents, self._send_lineage))
        if self._wanted.quality and name in self._facts.checks:
            aspects.append(("quality", self._facts.checks[name], self._send_quality))
        if self._wanted.contracts and name in self._facts.promises:
            aspects.append(("contracts", [self._facts.promises[name], facts.columns], self._send_contracts))
        mark = table.sent
        for aspect, content, send in aspects:
            state = short_hash(content)
            if getattr(mark, aspect) == state:
                continue
            before = len(self._result.problems)
            if not self._dry_run:
                self._guarded(table, f"its {aspect}", send)
            if len(self._result.problems) == before:
                self._result.note(name, aspect)
                mark = replace(mark, **{aspect: state})
        if mark != table.sent and not self._dry_run:
            self._guarded(table, "the note of what was sent", lambda each: self._set_mark(each, mark))

    def _send_profile(self, table: _Table) -> None:
        self._server.put(f"/tables/{_id(table)}/tableProfile", bodies.profile(table.facts))

    def _send_lineage(self, table: _Table) -> None:
        name = table.facts.id
        origins = self._facts.origins.get(name, {})
        for parent in self._facts.parents[name]:
            source = self._tables.get(parent)
            if source is None or source.entity is None:
                continue
            columns = []
            for column, found in origins.items():
                froms = [below(source.fqn, each) for of, each in found if of == parent]
                if froms:
                    columns.append({"fromColumns": froms, "toColumn": below(table.fqn, column)})
            self._server.put("/lineage", bodies.edge(_id(source), _id(table), columns))

    def _send_quality(self, table: _Table) -> None:
        checks = self._facts.checks[table.facts.id]
        self._create_once("/dataQuality/testSuites/basic", bodies.test_suite(table.fqn))
        for check in checks:
            self._guarded(table, f"the check {check.name}", partial(self._send_check, check))

    def _send_check(self, check: Check, table: _Table) -> None:
        definition = bodies.definition_name(check)
        if definition not in self._made:
            self._create_once("/dataQuality/testDefinitions", bodies.test_definition(check))
            self._made.add(definition)
        self._create_once("/dataQuality/testCases", bodies.test_case(table.fqn, check))
        if check.result is not None:
            path = f"/dataQuality/testCases/testCaseResults/{in_path(bodies.case_fqn(table.fqn, check))}"
            self._create_once(path, bodies.test_result(check.result))

    def _create_once(self, path: str, body: Body) -> dict[str, Any] | None:
        """Create what a body describes; None if it is there already, which stays as it is."""
        try:
            created: dict[str, Any] = self._server.post(path, body)
        except RefusedError as error:
            if error.status != _EXISTS:
                raise
            return None
        return created

    def _send_contracts(self, table: _Table) -> None:
        for promise in self._facts.promises[table.facts.id]:
            body = bodies.contract(_id(table), table.facts, promise)
            owner = self._owner(promise.owner)
            if owner is not None:
                body["owners"] = [owner]
            if self._create_once("/dataContracts", body) is None:
                self._update_contract(table, body)

    def _update_contract(self, table: _Table, body: Body) -> None:
        """Change the columns and service levels of the contract that a table has: it can have one."""
        found = self._server.get("/dataContracts/entity", entityId=_id(table), entityType="table")
        if found is None or found["name"] != body["name"]:
            other = f"the contract {found['name']}" if found else "one of that name elsewhere"
            raise RefusedError(f"a table has one contract in OpenMetadata, which has {other}.", _EXISTS)
        changed = {name: body[name] for name in ("displayName", "schema", "sla") if name in body}
        operations = [
            {"op": "replace" if name in found else "add", "path": f"/{name}", "value": value}
            for name, value in changed.items()
            if found.get(name) != value
        ]
        if operations:
            self._server.patch(f"/dataContracts/{found['id']}", operations)


def _id(table: _Table) -> str:
    assert table.entity is not None
    return str(table.entity["id"])


def _marked(entity: Mapping[str, Any], mark: Mark) -> Body:
    return {"op": "replace" if "sourceHash" in entity else "add", "path": "/sourceHash", "value": str(mark)}
