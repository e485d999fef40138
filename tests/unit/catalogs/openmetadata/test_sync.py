"""Bringing a server up to date: what is sent, what is not, and what people have written there."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.catalogs.openmetadata import bodies
from airflow_provider_phlo.catalogs.openmetadata.described import (
    CatalogFacts,
    Check,
    CheckResult,
    ColumnFacts,
    Promise,
    TableFacts,
)
from airflow_provider_phlo.catalogs.openmetadata.marks import Mark
from airflow_provider_phlo.catalogs.openmetadata.names import entity_name, fully_qualified
from airflow_provider_phlo.catalogs.openmetadata.server import OpenMetadata
from airflow_provider_phlo.catalogs.openmetadata.sync import Wanted, sync_catalog
from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from tests.openmetadata_server import TOKEN, problem_of

EVERYTHING = Wanted(lineage=True, quality=True, contracts=True, is_whole=True)
READINGS = "phlo.default.raw.readings"


def column(name, kind="BIGINT", **more):
    return ColumnFacts(name, kind, kind.lower(), **more)


def table(name="readings", namespace="raw", columns=None, **more):
    columns = columns or (column("id", doc="the key", required=True), column("mail", "STRING", is_pii=True))
    facts = {"location": f"s3://lake/{name}", "key": ("id",), "snapshot_id": 7, "updated_ms": 1700000000000}
    return TableFacts(namespace, name, tuple(columns), **{**facts, "rows": 5, "bytes": 100, **more})


@pytest.fixture
def facts():
    result = CheckResult(False, 1700000000001, failed=2, rows=5)
    return CatalogFacts(
        (table(doc="Readings."), table("daily", "gold", owner="ann")),
        parents={"gold.daily": ("raw.readings", "raw.unknown")},
        origins={"gold.daily": {"id": (("raw.readings", "id"),), "mail": (("raw.unknown", "x"),)}},
        checks={"raw.readings": (Check("NullCheck(id)", "not_null", "id", result), Check("CountCheck()", "row_count"))},
        promises={"raw.readings": (Promise("readings", "1.2.0", columns=("id",), freshness_hours=2),)},
    )


def with_first(facts, **changed):
    """Return the facts with another first table."""
    return replace(facts, tables=(replace(facts.tables[0], **changed), *facts.tables[1:]))


def changes(fake):
    """Return the requests that were not mere questions, and forget all."""
    found = [call for call in fake.calls if not call.startswith("GET ")]
    fake.calls.clear()
    return found


def test_everything_is_sent_and_nothing_twice(fake, server, facts):
    fake.users["ann"] = "users"
    done = sync_catalog(server, "phlo", facts, EVERYTHING)
    assert done.problems == []
    assert done.created == ["raw.readings", "gold.daily"]
    readings, daily = fake.table(READINGS), fake.table("phlo.default.gold.daily")
    assert readings["description"] == "Readings."
    assert [each["name"] for each in readings["columns"]] == ["id", "mail"]
    assert readings["columns"][0]["description"] == "the key"
    assert readings["columns"][1]["tags"] == [bodies.PII_TAG]
    assert readings["tableConstraints"] == [{"constraintType": "PRIMARY_KEY", "columns": ["id"]}]
    assert daily["owners"][0]["type"] == "user"
    assert fake.profiles[READINGS]["tableProfile"] == {
        "timestamp": 1700000000000,
        "columnCount": 2,
        "rowCount": 5,
        "sizeInByte": 100,
    }
    ((ends, edge),) = fake.lineage.items()
    assert ends == (readings["id"], daily["id"])
    assert edge["lineageDetails"]["columnsLineage"] == [
        {"fromColumns": [f"{READINGS}.id"], "toColumn": "phlo.default.gold.daily.id"}
    ]
    assert set(fake.entities["dataQuality/testCases"]) == {f"{READINGS}.id.NullCheck(id)", f"{READINGS}.CountCheck()"}
    (result,) = fake.results[f"{READINGS}.id.NullCheck(id)"]
    assert (result["testCaseStatus"], result["failedRows"], result["passedRows"]) == ("Failed", 2, 3)
    (contract,) = fake.entities["dataContracts"].values()
    assert [each["name"] for each in contract["schema"]] == ["id"]
    assert contract["sla"] == {"maxLatency": {"value": 120, "unit": "minute"}}

    changes(fake)
    again = sync_catalog(OpenMetadata(fake.url, TOKEN), "phlo", facts, EVERYTHING)
    assert changes(fake) == []
    assert again.unchanged == again.tables == 2
    assert not again.problems


def test_only_what_has_changed_is_sent(fake, server, facts):
    sync_catalog(server, "phlo", facts, EVERYTHING)
    changes(fake)
    new = replace(facts.tables[0], columns=(*facts.tables[0].columns, column("more")), snapshot_id=8, rows=9)
    done = sync_catalog(server, "phlo", replace(facts, tables=(new, facts.tables[1])), EVERYTHING)
    assert done.updated == {"raw.readings": ["columns", "profile", "contracts"]}
    assert fake.table(READINGS)["columns"][2]["name"] == "more"
    assert fake.profiles[READINGS]["tableProfile"]["rowCount"] == 9
    assert not [call for call in changes(fake) if "dataQuality" in call or "lineage" in call]


def test_parts_are_only_sent_where_they_are_wanted(fake, server, facts):
    sync_catalog(server, "phlo", facts)
    assert not fake.lineage
    assert not fake.results
    changes(fake)
    done = sync_catalog(server, "phlo", facts, Wanted(quality=True))
    assert done.updated == {"raw.readings": ["quality"]}
    assert sync_catalog(server, "phlo", facts).unchanged == 2  # and are not forgotten where they are not


def test_a_dry_run_sends_nothing(fake, server, facts):
    done = sync_catalog(server, "phlo", facts, EVERYTHING, dry_run=True)
    assert done.created == ["raw.readings", "gold.daily"]
    assert changes(fake) == []
    sync_catalog(server, "phlo", facts, EVERYTHING)
    changes(fake)
    changed = replace(facts, tables=(replace(facts.tables[0], doc="Others.", snapshot_id=9), facts.tables[1]))
    assert sync_catalog(server, "phlo", changed, dry_run=True).updated == {"raw.readings": ["description", "profile"]}
    assert changes(fake) == []


# --- what people have written there


def test_what_people_describe_there_stays(fake, server, facts):
    sync_catalog(server, "phlo", facts)
    entity = fake.table(READINGS)
    entity["columns"][0]["description"] = "by hand"
    entity["columns"][0]["extension"] = {"steward": "bea"}
    entity["columns"][1]["tags"] = [{**bodies.PII_TAG, "tagFQN": "Tier.Tier1"}]
    entity["owners"] = [{"id": "00000000-0000-0000-0000-000000000001", "type": "user"}]
    new = replace(
        facts.tables[0],
        doc="New words.",
        owner="ann",
        columns=(column("id", "STRING", doc="other words"), *facts.tables[0].columns[1:]),
    )
    done = sync_catalog(server, "phlo", replace(facts, tables=(new, facts.tables[1])))
    entity = fake.table(READINGS)
    assert entity["columns"][0]["description"] == "by hand"
    assert entity["columns"][0]["extension"] == {"steward": "bea"}
    assert entity["columns"][0]["dataType"] == "STRING"  # its type is ours
    assert entity["description"] == "Readings."
    assert [tag["tagFQN"] for tag in entity["columns"][1]["tags"]] == ["Tier.Tier1", "PII.Sensitive"]
    assert len(entity["owners"]) == 1
    assert done.kept == ["raw.readings: the description of id", "raw.readings: its description"]


def test_what_nobody_has_touched_is_described_anew(fake, server, facts):
    sync_catalog(server, "phlo", facts)
    for words in ("Second.", "Third."):
        new = replace(facts, tables=(replace(facts.tables[0], doc=words), facts.tables[1]))
        done = sync_catalog(server, "phlo", new)
        assert fake.table(READINGS)["description"] == words
        assert done.kept == []


def test_a_table_that_others_have_made_keeps_its_words(fake, server, facts):
    sync_catalog(server, "phlo", facts)
    entity = fake.table(READINGS)
    entity |= {"sourceHash": "somebody-elses", "description": "theirs"}
    entity["columns"][1]["description"] = ""
    more = (facts.tables[0].columns[0], column("mail", "STRING", doc="the address", is_pii=True))
    done = sync_catalog(server, "phlo", with_first(facts, columns=more))
    assert fake.table(READINGS)["description"] == "theirs"
    assert fake.table(READINGS)["columns"][1]["description"] == "the address"  # there was none
    assert "raw.readings: its description" in done.kept


def test_a_change_in_the_same_moment_is_not_lost(fake, server, facts):
    fake.users["ann"] = "users"
    sync_catalog(server, "phlo", facts)

    def by_hand():
        entity = fake.table(READINGS)
        entity |= {"version": 5.0}
        entity["columns"][1]["description"] = "written meanwhile"

    fake.before_patch = by_hand
    more = (*facts.tables[0].columns, column("more"))
    done = sync_catalog(server, "phlo", with_first(facts, columns=more))
    assert done.problems == []
    assert fake.table(READINGS)["columns"][1]["description"] == "written meanwhile"
    assert fake.table(READINGS)["columns"][2]["name"] == "more"


def test_a_table_that_somebody_makes_meanwhile_is_not_replaced(fake, server, facts):
    fake.users["ann"] = "users"
    sync_catalog(server, "phlo", facts)
    made = fake.entities["tables"].pop(READINGS)
    listing = fake._page
    fake._page = lambda *arguments: (listing(*arguments), fake.entities["tables"].setdefault(READINGS, made))[0]
    made["description"] = "theirs"
    done = sync_catalog(server, "phlo", facts)
    assert done.problems == []
    assert fake.table(READINGS)["description"] == "theirs"


def test_what_is_gone_here_is_named_and_stays_there(fake, server, facts):
    sync_catalog(server, "phlo", facts)
    fewer = replace(facts, tables=facts.tables[:1])
    assert sync_catalog(server, "phlo", fewer).gone == []  # some were asked for
    assert sync_catalog(server, "phlo", fewer, Wanted(is_whole=True)).gone == ["phlo.default.gold.daily"]
    assert "phlo.default.gold.daily" in fake.entities["tables"]


def test_an_owner_that_is_not_known_there_is_named(fake, server, facts):
    done = sync_catalog(server, "phlo", facts)
    assert (done.unknown_owners, done.problems) == (["ann"], [])
    fake.users["ann"] = "teams"
    done = sync_catalog(OpenMetadata(fake.url, TOKEN), "phlo", facts)
    assert done.unknown_owners == []
    assert fake.table("phlo.default.gold.daily")["owners"][0]["type"] == "team"


def test_a_second_contract_about_a_table_is_refused_by_name(fake, server, facts):
    both = (Promise("a", "1"), Promise("b", "1"))
    done = sync_catalog(server, "phlo", replace(facts, promises={"raw.readings": both}), EVERYTHING)
    assert [each for each in done.problems if "contract" in each] == [
        "raw.readings: its contracts was refused: a table has one contract in OpenMetadata, which has the contract a."
    ]


# --- what goes wrong


def test_case_31_pages_that_lead_back_are_refused(fake, server, facts, monkeypatch):
    """Tables of the pages that do not come would be taken for new ones."""
    sync_catalog(server, "phlo", facts)
    monkeypatch.setattr(fake, "_page", lambda *_: {"data": [], "paging": {"after": "2"}})
    with pytest.raises(ConfigurationError, match="/tables names a page as the next that was read before"):
        sync_catalog(server, "phlo", facts)


def test_it_goes_on_where_it_was_interrupted(fake, server, facts, pauses):
    fake.users["ann"] = "users"
    for after in range(1, 40, 3):
        fake.answers = [None] * after + ["hang up"] * 5
        with suppress(TransientError):
            sync_catalog(OpenMetadata(fake.url, TOKEN, sleep=pauses.append), "phlo", facts, EVERYTHING)
    fake.answers = []
    done = sync_catalog(server, "phlo", facts, EVERYTHING)
    assert done.problems == []
    assert sync_catalog(server, "phlo", facts, EVERYTHING).unchanged == 2
    assert Counter(call for call in fake.calls if call.endswith("/tables"))["POST /api/v1/tables"] <= 6
    assert len(fake.entities["tables"]) == 2


@pytest.mark.parametrize("body", [{}, [], {"data": None}, {"data": [1]}, {"data": {}}, "text"])
def test_a_list_of_another_server(fake, server, body):
    fake.answers = [(200, {}, body)]
    with pytest.raises(
        ConfigurationError, match=r"GET http\S+/tables answered with something that is not a list of OpenM"
    ):
        list(server.pages("/tables"))


@pytest.mark.parametrize("scripted", [(503, {}), (429, {"Retry-After": "7"}), (502, {}), "hang up"])
def test_what_may_pass_is_asked_again(fake, server, facts, pauses, scripted):
    fake.answers = [None, scripted, None, scripted]
    assert sync_catalog(server, "phlo", facts).created == ["raw.readings", "gold.daily"]
    assert len(pauses) == 2
    assert all(pause >= 7 for pause in pauses) == (scripted == (429, {"Retry-After": "7"}))


def test_a_server_that_asks_for_too_much_is_asked_another_day(fake, server, facts, pauses):
    fake.answers = [(429, {"Retry-After": "3600"})]
    with pytest.raises(TransientError, match=r"answered 429 .*It asks to wait 3600 s"):
        sync_catalog(server, "phlo", facts)
    assert pauses == []


def test_a_slow_server_is_given_up(fake, facts):
    fake.delay = 0.5
    server = OpenMetadata(fake.url, TOKEN, patience=0.1, sleep=lambda _: None)
    with pytest.raises(TransientError, match="does not answer"):
        sync_catalog(server, "phlo", facts)


def test_a_token_that_is_not_accepted_is_said_at_once_and_not_shown(fake, facts):
    server = OpenMetadata(fake.url, "wrong-secret", sleep=lambda _: None)
    with pytest.raises(ConfigurationError, match=r"answered 401 .*The token is not accepted") as caught:
        sync_catalog(server, "phlo", facts)
    assert "wrong-secret" not in str(caught.value)
    assert "wrong-secret" not in repr(server)
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.4.8", "1.4.8, and the oldest that can be synchronised is 1.6"),
        ("", "does not say which version"),
        ("x", "does not say"),
    ],
)
def test_another_version_is_refused_by_name(fake, server, facts, version, message):
    fake.version = version
    with pytest.raises(ConfigurationError, match=message):
        sync_catalog(server, "phlo", facts)
    assert changes(fake) == []


def test_contracts_need_a_newer_server(fake, server, facts):
    fake.version = "1.7.1"
    with pytest.raises(ConfigurationError, match=r"Contracts need OpenMetadata 1\.8"):
        sync_catalog(server, "phlo", facts, EVERYTHING)
    assert sync_catalog(server, "phlo", facts, replace(EVERYTHING, contracts=False)).created


def test_a_newer_version_is_named(fake, server, facts):
    fake.version = "3.1.0"
    done = sync_catalog(server, "phlo", facts)
    assert len(done.created) == 2
    assert done.warnings == [f"{fake.url} is OpenMetadata 3.1.0; what is sent was checked for versions up to 2."]


def test_a_table_that_was_deleted_there_is_not_made_anew(fake, server, facts):
    sync_catalog(server, "phlo", facts)
    gone = fake.entities["tables"].pop(READINGS)
    fake.deleted.add(gone["fullyQualifiedName"])
    done = sync_catalog(server, "phlo", facts)
    assert len(done.problems) == 1
    assert "it was deleted there meanwhile" in done.problems[0]


def test_a_check_that_it_cannot_have_keeps_no_other_back(fake, server, facts):
    odd = table(columns=(column("a|b"), column("id")))
    checks = {odd.id: (Check("first", "not_null", "a|b"), Check("second", "not_null", "id", CheckResult(True, 1)))}
    done = sync_catalog(server, "phlo", CatalogFacts((odd,), checks=checks), Wanted(quality=True))
    assert [each.partition(": O")[0] for each in done.problems] == ["raw.readings: the check first was refused"]
    assert list(fake.results) == [f"{READINGS}.id.second"]


def test_one_refused_table_keeps_no_other_back(fake, server, facts):
    bad = table("bad", columns=(ColumnFacts("x", "NO SUCH TYPE", "x"),))
    done = sync_catalog(server, "phlo", replace(facts, tables=(bad, *facts.tables)))
    assert len(fake.entities["tables"]) == 2
    assert any(each.startswith("raw.bad: the table was refused: OpenMetadata answered 400") for each in done.problems)


@pytest.mark.parametrize("url", ["ftp://x", "http://user:secret@host", "nothing"])
def test_what_is_not_an_address_is_refused(url):
    with pytest.raises(ConfigurationError, match="The address of OpenMetadata is not a URL") as caught:
        OpenMetadata(url, TOKEN)
    assert "secret" not in str(caught.value)


# --- size


@pytest.mark.long
def test_500_tables_that_have_not_changed_take_few_requests(fake, server):
    columns = tuple(column(f"c{number}", doc=f"number {number}") for number in range(20))
    facts = CatalogFacts(tuple(table(f"t{number:03}", columns=columns) for number in range(500)))
    sync_catalog(server, "phlo", facts, Wanted(is_whole=True))
    asked = OpenMetadata(fake.url, TOKEN)
    started = time.process_time()
    done = sync_catalog(asked, "phlo", facts, EVERYTHING)
    assert done.unchanged == 500
    assert done.requests <= 20
    assert time.process_time() - started < 5


# --- names


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("s", "a.b", "c"), 's."a.b".c'),
        (("a::b",), "a__reserved__colon__b"),
        (('say "hi"',), "say __reserved__quote__hi__reserved__quote__"),
        (("a>b", "ünï ✓"), "a__reserved__arrow__b.ünï ✓"),
    ],
)
def test_names(names, wanted):
    assert fully_qualified(*names) == wanted


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_name_is_one_that_the_schemas_accept(name):
    facts = table(name, columns=(column(name, "STRUCT", fields=(column(name),)),), key=(name,))
    assert problem_of(bodies.table("s.d.n", facts), "api/data/createTable.json") is None
    assert '"' not in entity_name(name)
    fqn = fully_qualified("s", name)
    assert fqn.partition(".")[2].strip('"') == entity_name(name)


def test_a_name_that_is_too_long_leaves_its_table_out(fake, server, facts):
    long = table("x" * 300)
    done = sync_catalog(server, "phlo", replace(facts, tables=(long, *facts.tables)))
    assert len(done.problems) == 1
    assert "is left out: OpenMetadata cannot have the name" in done.problems[0]


def test_odd_names_are_sent_and_found_again(fake, server):
    odd = ["a.b", 'say "hi"', "two\nlines", "a::b", "x>y", "ünï ✓", "a/b?c#d%20"]
    columns = tuple(column(name) for name in odd)
    found = tuple(table(name, "raw.deep", columns=columns, key=(name,)) for name in odd)
    checks = {
        each.id: tuple(Check(f"c {name}", "not_null", name, CheckResult(True, 1)) for name in odd) for each in found
    }
    facts = CatalogFacts(
        found, {found[0].id: (found[1].id,)}, {found[0].id: {odd[0]: ((found[1].id, odd[1]),)}}, checks
    )
    done = sync_catalog(server, "phlo", facts, EVERYTHING)
    assert done.problems == []
    assert len(fake.results) == len(odd) ** 2
    assert sync_catalog(server, "phlo", facts, EVERYTHING).unchanged == len(odd)


def test_marks():
    mark = Mark(docs="012345", quality="abcdef")
    assert Mark.read(str(mark)) == mark
    assert len(str(mark)) == 32
    assert Mark.read("somebody's") == Mark.read(None) == Mark()
