"""Messages on their way: receivers that work, and those that do what receivers do."""

from __future__ import annotations

import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes

import pytest

from airflow_provider_phlo.alerts import processing
from airflow_provider_phlo.alerts.delivery import sending as delivery
from airflow_provider_phlo.alerts.delivery.destinations import make_notifier
from airflow_provider_phlo.alerts.delivery.messages import content_of_test
from airflow_provider_phlo.alerts.incidents import store
from airflow_provider_phlo.alerts.incidents.state import MessageState, State
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.receivers import mail_server, receiver
from tests.unit.alerts.conftest import NOW, minutes, verdict

SECRET = "T0123456789/B0123456789/abcdefghijklmnop"
RULE = """
    destinations:
      team: {arguments: {url: "${HOOK}"}, timeout: 1s}
      other: {arguments: {url: "${OTHER}"}, timeout: 1s}
    rules: [{name: checks, kind: quality_check_failed, to: [team, other]}]
"""


def messages(catalog):
    return {each.destination: each for each in store.read_state(catalog).messages.values()}


@pytest.fixture
def other():
    with receiver() as found:
        yield found


@pytest.fixture
def untrusted(tmp_path):
    """Return the TLS context of a server whose certificate nobody has signed."""

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]),
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"answers": [(500, {})]}, "it answered 500"),
        ({"answers": [(302, {"Location": "http://127.0.0.1:9/stolen"})]}, "redirects are not followed"),
        ({"answers": [(307, {"Location": "http://127.0.0.1:9/stolen"})]}, "redirects are not followed"),
        ({"hangs_up": True}, "no connection, or it was closed before the answer"),
        ({"delay": 10.0}, "no answer within 1 s"),
        ({"context": True}, "its certificate is not trusted"),
    ],
    ids=["500", "302", "307", "hangs up", "slow", "certificate"],
)
def test_what_fails_keeps_nobody_else_waiting_and_is_tried_again(
    catalog, configure, other, untrusted, caplog, settings, error
):
    if "context" in settings:
        settings = {"context": untrusted}
    with receiver(**settings) as team:
        configuration = configure(RULE, HOOK=team.url + SECRET, OTHER=other.url)
        began = time.monotonic()
        found = processing.process(catalog, configuration, [verdict()], NOW)
        assert time.monotonic() - began < 8
        assert (found.sent, found.failed_deliveries, len(other.bodies)) == (1, 1, 1)
        waiting = messages(catalog)["team"]
        assert (waiting.state, waiting.attempts, error in waiting.error) == (MessageState.WAITING, 1, True)
        assert waiting.due_at > NOW
        # not before it is due, and then without a new verdict
        assert processing.process(catalog, configuration, [], NOW).sent == 0
        team.answers[:], team.hangs_up, team.delay = [(204, {})], False, 0.0
        if "context" not in settings:
            assert processing.process(catalog, configuration, [], NOW + minutes(5)).sent == 1
            assert messages(catalog)["team"].attempts == 2
    assert len(other.bodies) == 1
    assert SECRET[-8:] not in caplog.text
    assert SECRET[-8:] not in str(store.read_state(catalog))


def test_a_limit_says_how_long_to_wait(catalog, configure, other):
    with receiver(answers=[(429, {"Retry-After": "1800"}), (200, {})]) as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        found = processing.process(catalog, configuration, [verdict(), verdict(table="raw.more")], NOW)
        # the second message to the same destination is not even tried
        assert (found.sent, found.failed_deliveries, len(team.bodies)) == (2, 2, 1)
        assert processing.process(catalog, configuration, [], NOW + minutes(29)).sent == 0
        assert processing.process(catalog, configuration, [], NOW + minutes(31)).sent == 2
        assert len(team.bodies) == 3


def test_a_message_that_is_refused_does_not_hold_up_the_next(catalog, configure, other):
    with receiver(answers=[(400, {}), (200, {})]) as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        processing.process(catalog, configuration, [verdict(), verdict(table="raw.more")], NOW)
        assert len(team.bodies) == 2


def test_what_cannot_be_delivered_for_days_is_given_up(catalog, configure, other):
    with receiver(answers=[(503, {})]) as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        for hours in (0, 1, 24, 80):
            processing.process(catalog, configuration, [], NOW + timedelta(hours=hours)) if hours else None
            processing.process(catalog, configuration, [verdict()], NOW + timedelta(hours=hours))
        assert messages(catalog)["team"].state == MessageState.GIVEN_UP
        assert "503" in messages(catalog)["team"].error


def test_a_destination_that_is_gone_is_said(catalog, configure, other):
    with receiver(answers=[(503, {})]) as team:
        processing.process(catalog, configure(RULE, HOOK=team.url, OTHER=other.url), [verdict()], NOW)
    without = configure(
        RULE.replace("team:", "crew:").replace("[team, other]", "[other]"), HOOK=team.url, OTHER=other.url
    )
    processing.process(catalog, without, [], NOW + minutes(10))
    assert messages(catalog)["team"].error == "the destination team is not configured any more"
    assert messages(catalog)["team"].state == MessageState.GIVEN_UP


def test_a_lease_that_expires_is_taken_over_and_what_has_arrived_counts(configure, catalog, other):
    with receiver() as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        processing.process(catalog, configuration, [verdict()], NOW, deliver=False)
    assert store.read_state(catalog).messages == {}
    state = processing.decide(store.read_state(catalog), configuration, [], NOW, "first")[0]
    assert len(delivery.claimed(state, "first")) == 2
    assert delivery.claimed(delivery.claim(state, "second", NOW + minutes(4)), "second") == []
    taken = delivery.claim(state, "second", NOW + minutes(6))
    assert len(delivery.claimed(taken, "second")) == 2
    first = delivery.claimed(state, "first")
    # the first one was slow: what it has sent is not sent again, what it has not is the second one's affair
    after = delivery.settle(taken, [delivery.Outcome(first[0]), delivery.Outcome(first[1], "no")], "first", NOW)
    assert [each.id for each in delivery.claimed(after, "second")] == [first[1].id]
    assert after.messages[first[1].id].attempts == 0


ARGUMENTS = """
    destinations:
      mail:
        notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier
        arguments: {to: "{{ owner or 'team' }}@example.com", from_email: phlo@example.com, smtp_conn_id: mail}
"""


def test_arguments_are_templates_and_notifiers_get_what_their_parameters_are_called(configure):
    destination = configure(ARGUMENTS).destinations["mail"]
    content = {"title": "[error] a title", "html": "a <b>text</b>", "owner": "ann", "text": "", "severity": "error"}
    notifier = make_notifier("mail", destination, content)
    assert (notifier.to, notifier.subject) == ("ann@example.com", "[error] a title")
    assert notifier.html_content == "a <b>text</b>"


def test_mail_arrives_by_a_real_server_and_waits_for_one_that_is_down(catalog, configure, monkeypatch):
    def connect_to(port):
        extra = {"disable_ssl": True, "disable_tls": True, "retry_limit": 1}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps(connection))

    configuration = configure(ARGUMENTS + "    rules: [{name: checks, kind: quality_check_failed, to: [mail]}]")
    connect_to(9)
    assert processing.process(catalog, configuration, [verdict(owner="ann")], NOW).failed_deliveries == 1
    assert messages(catalog)["mail"].error == "ConnectionRefusedError"
    with mail_server() as (port, mails):
        connect_to(port)
        assert processing.process(catalog, configuration, [], NOW + minutes(5)).sent == 1
    (mail,) = mails
    parsed = message_from_bytes(mail.content)
    assert (mail.mail_from, mail.rcpt_tos) == ("phlo@example.com", ["ann@example.com"])
    assert parsed["Subject"] == "[error] checks: null_check(id) of raw.readings"
    assert "null_check(id) failed: 3 of 40 rows." in parsed.get_payload()[0].get_payload(decode=True).decode()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"notifier": "airflow.providers.slak.Notifier"}, "airflow.providers.slak.Notifier cannot be imported"),
        ({"notifier": "pathlib.Path"}, "pathlib.Path is not an Airflow notifier"),
        ({"arguments": {"too": "x"}}, "SmtpNotifier"),
        ({"arguments": {"to": "{{ nothing }}"}}, "argument to: the template cannot be used: 'nothing' is undefined"),
        ({"arguments": {"to": "{{ title"}}, "argument to: the template cannot be used"),
        ({"arguments": {"to": "{{ ''.__class__.__mro__ }}"}}, "argument to: the template cannot be used"),
    ],
)
def test_what_a_notifier_does_not_take_is_named(configure, change, says):
    destination = configure(ARGUMENTS).destinations["mail"].model_copy(update=change)
    with pytest.raises(ConfigurationError) as error:
        make_notifier("mail", destination, {"title": "t", "html": "h", "text": "", "severity": "error"})
    assert says in str(error.value)


def test_a_text_of_the_data_is_never_a_template(catalog, configure, other, monkeypatch):
    monkeypatch.setenv("SOMETHING", "secret")
    with receiver() as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        processing.process(catalog, configuration, [verdict(check="{{ 7 * 7 }}")], NOW)
    assert team.bodies[0]["incidents"][0]["subject"] == "{{ 7 * 7 }}"


def test_slack_needs_nothing_but_its_variable(catalog, configure):
    with receiver() as slack:
        configuration = configure(
            "rules: [{name: checks, kind: quality_check_failed, to: [slack]}]",
            PHLO_ALERT_SLACK_WEBHOOK=slack.url,
            PHLO_ALERT_SLACK_CHANNEL="#data",
        )
        processing.process(catalog, configuration, [verdict()], NOW)
    assert slack.bodies[0]["channel"] == "#data"
    assert slack.bodies[0]["text"].startswith("[error] checks: null_check(id) of raw.readings\n")


def test_a_dry_run_writes_down_and_sends_nothing(catalog, configure, other):
    with receiver() as team:
        configuration = configure("    dry_run: true\n" + RULE, HOOK=team.url, OTHER=other.url)
        assert processing.process(catalog, configuration, [verdict()], NOW).sent == 0
        assert processing.process(catalog, configuration, [], NOW + minutes(60)).sent == 0
    assert {each.state for each in messages(catalog).values()} == {MessageState.DRY_RUN}
    assert (team.bodies, other.bodies) == ([], [])


def test_what_was_only_said_in_a_dry_run_is_said_when_that_is_over(catalog, configure, other):
    with receiver() as team:
        addresses = {"HOOK": team.url, "OTHER": other.url}
        rehearsal, real = configure("    dry_run: true\n" + RULE, **addresses), configure(RULE, **addresses)
        processing.process(catalog, rehearsal, [verdict(), verdict(check="over")], NOW)
        processing.process(catalog, rehearsal, [verdict(True, NOW + minutes(1), check="over")], NOW + minutes(1))
        processing.process(catalog, real, [verdict(at=NOW + minutes(15))], NOW + minutes(15))
        assert team.texts == ["opened: [error] checks: null_check(id) of raw.readings"]
        processing.process(catalog, rehearsal, [verdict(at=NOW + minutes(20))], NOW + minutes(20))
        processing.process(catalog, real, [verdict(at=NOW + minutes(25))], NOW + minutes(25))
        assert len(team.texts) == 1, "they have heard of it"


def test_nothing_is_sent_that_was_not_written_down(configure, catalog, other, monkeypatch):
    """The disk is full, or the catalog does not answer."""
    from airflow_provider_phlo.exceptions import TransientError
    from airflow_provider_phlo.iceberg.files import writing

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with receiver() as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        with monkeypatch.context() as patched:
            patched.setattr(writing.pq.ParquetWriter, "write_table", full)
            patched.setattr(writing.pq.ParquetWriter, "write_batch", full)
            with pytest.raises((TransientError, OSError)):
                processing.process(catalog, configuration, [verdict()], NOW)
        assert team.bodies == []
        assert store.read_state(catalog) == State()
        assert processing.process(catalog, configuration, [verdict()], NOW).sent == 2


def test_sent_but_not_marked_is_sent_again_under_the_same_key(catalog, configure, other, monkeypatch):
    with receiver() as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        with monkeypatch.context() as patched:
            patched.setattr(delivery, "settle", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                processing.process(catalog, configuration, [verdict()], NOW)
        assert processing.process(catalog, configuration, [], NOW + minutes(1)).sent == 0
        assert processing.process(catalog, configuration, [], NOW + minutes(6)).sent == 2
        assert [body["key"] for body in team.bodies] == [team.bodies[0]["key"]] * 2


def test_messages_of_one_destination_arrive_in_their_order(catalog, configure, other):
    with receiver(answers=[(503, {}), (200, {})]) as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        processing.process(catalog, configuration, [verdict()], NOW)
        processing.process(catalog, configuration, [verdict(True, NOW + minutes(1))], NOW + minutes(1), deliver=False)
        processing.process(catalog, configuration, [], NOW + minutes(20), deliver=False)
        processing.process(catalog, configuration, [], NOW + minutes(20))
    assert [body["status"] for body in team.bodies[1:]] == ["opened", "resolved"]


def test_clocks_of_other_watchers_are_not_believed_when_they_run_ahead(catalog, configure, other):
    with receiver() as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        ahead = NOW + timedelta(hours=2)
        processing.process(catalog, configuration, [verdict(at=ahead)], ahead)
        processing.process(catalog, configuration, [verdict(True, NOW + minutes(1))], NOW + minutes(1))
        found = processing.process(catalog, configuration, [], NOW + minutes(12))
    assert found.resolved == 1


def test_a_destination_that_is_left_alone_gets_no_new_message_either_and_all_when_it_works_again(
    catalog, configure, other
):
    with receiver(answers=[(503, {}), (503, {}), (200, {})]) as team:
        configuration = configure(RULE, HOOK=team.url, OTHER=other.url)
        processing.process(catalog, configuration, [verdict()], NOW)
        at = NOW + timedelta(seconds=10)
        processing.process(catalog, configuration, [verdict(table="raw.more", at=at)], at)
        assert (len(team.bodies), len(other.bodies)) == (1, 2)
        processing.process(catalog, configuration, [], NOW + minutes(2))
        assert len(team.bodies) == 2
        # it answers again: what would have waited longer by its own attempts does not
        at = NOW + minutes(3.2)
        processing.process(catalog, configuration, [], at)
        processing.process(catalog, configuration, [], at + timedelta(seconds=1))
    assert [body["table"] for body in team.bodies[2:]] == ["raw.more", "raw.readings"]


def test_what_has_arrived_is_marked_while_another_destination_hangs(catalog, configure, other, monkeypatch):
    marked = []
    settle = delivery.settle

    def seen(state, outcomes, *rest):
        marked.append([each.message.destination for each in outcomes])
        return settle(state, outcomes, *rest)

    monkeypatch.setattr(delivery, "settle", seen)
    with receiver(delay=1.5) as team:
        configuration = configure(RULE.replace("timeout: 1s", "timeout: 5s"), HOOK=team.url, OTHER=other.url)
        assert processing.process(catalog, configuration, [verdict()], NOW).sent == 2
    assert marked == [["other"], ["team"]]


OFF = RULE.replace('"${HOOK}"', '"${HOOK:-}"')


def test_a_destination_whose_address_is_not_set_is_off_until_it_is(catalog, configure, other):
    without = configure(OFF.replace("[team, other]", "[team]"), OTHER=other.url)
    assert without.off == {"team": "HOOK"}
    for _ in range(2):
        found = processing.process(catalog, without, [verdict()], NOW)
        assert (found.sent, found.failed_deliveries) == (0, 0)
    (incident,) = store.read_state(catalog).incidents.values()
    assert (incident.state, incident.notified, messages(catalog)) == ("open", None, {})
    with receiver() as team:
        set_up = configure(OFF.replace("[team, other]", "[team]"), HOOK=team.url, OTHER=other.url)
        assert set_up.off == {}
        assert processing.process(catalog, set_up, [], NOW + minutes(5)).sent == 1
        # a terminal without the variable takes nothing away from the watcher, which has it
        later = NOW + minutes(6)
        processing.process(catalog, set_up, [verdict(table="raw.more", at=later)], later, deliver=False)
        processing.process(catalog, without, [], later)
        assert processing.process(catalog, set_up, [], later).sent == 1
    # of two, the other one is notified
    third = configure(OFF, OTHER=other.url)
    later = NOW + minutes(7)
    processing.process(catalog, third, [verdict(table="raw.third", at=later)], later)
    assert [body["table"] for body in other.bodies] == ["raw.third"]


@pytest.mark.parametrize(
    ("arguments", "off"),
    [
        ('{url: "${A:-}"}', {"team": "A"}),
        ('{url: "${A:-https://example.com}"}', {}),
        ('{url: "https://example.com/${A:-}"}', {}),
        ('{url: "https://example.com", channel: "${A:-}"}', {}),
        ('{smtp_conn_id: "${A:-}"}', {"team": "A"}),
    ],
)
def test_off_is_only_what_has_no_address(configure, arguments, off):
    assert configure(f"destinations: {{team: {{arguments: {arguments}}}}}").off == off


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("{http_conn_id: nowhere}", "There is no connection nowhere."),
        ("{url: ftp://example.com}", "begins with https://"),
        ("{url: http://127.0.0.1:9, form: xml}", "form='xml': write one of"),
        ("{url: http://127.0.0.1:9, nosuch: 1}", "not nosuch."),
    ],
)
def test_why_nothing_arrives_is_said(configure, arguments, says):
    configuration = configure(f"destinations: {{team: {{arguments: {arguments}}}}}")
    error = delivery.deliver_tests({"team": content_of_test("team", "", NOW)}, configuration)["team"]
    assert says in error
