"""The forms of an audit: plain words, an HTML page that escapes everything, CSV without formulas, valid OpenMetrics."""

import csv
import io
import json
import re
import subprocess
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest  # pyright: ignore[reportUnknownVariableType]
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from local import toolchain
from pullsecrets.cli.app import app
from pullsecrets.coverage.audit import PODS_UNREADABLE, Audit, Credential
from pullsecrets.coverage.report import Format, page, render
from pullsecrets.coverage.report.metrics import collect
from pullsecrets.coverage.report.summary import actions, headline
from pullsecrets.coverage.report.table import COLUMNS, cell
from pullsecrets.coverage.rows import Coverage
from pullsecrets.coverage.strays import Orphan, UndeclaredUse, UnmanagedSecret
from pullsecrets.errors import BadInputError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GREEN = Coverage(
    namespace="auth-dev",
    registry="app",
    declared=True,
    labelled=True,
    ready=True,
    reason="synced",
    secret=True,
    typed=True,
    digest="0123",
    seeded_digest="0123",
    binding="serviceAccounts",
    bound=("default",),
    unbound=(),
    awaited=(),
)
RED = replace(GREEN, namespace="user-dev", ready=False, reason="403", secret=False, typed=False, digest=None)
CREDENTIAL = Credential("app", ("app.example.com",), "platform", "vault", 3, "0123", NOW - timedelta(days=30), None)
OTHER = UnmanagedSecret(
    "auth-dev", "regcred", None, True, "kubectl create", "2026-01-01T00:00:00Z", ("default",), 2, True
)
ORPHAN = Orphan("finalizer", "gone", "app", "ces-app", "it would hang", "pull-secrets offboard gone")
USE = UndeclaredUse("sandbox", "app", 3, 1, "web-1", ("regcred",))
CLEAN = Audit((GREEN,), (CREDENTIAL,), finished_at=NOW)
TROUBLED = Audit(
    (GREEN, RED),
    (CREDENTIAL,),
    (OTHER,),
    (ORPHAN,),
    (USE,),
    (PODS_UNREADABLE,),
    requests=9,
    seconds=0.5,
    finished_at=NOW,
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def shape(self) -> list[tuple[str, tuple[tuple[str, str | None], ...]]]:
        return [tag for tag in self.tags if tag[0] != "meta"]


class TestSummary:
    def test_a_clean_audit_needs_nothing(self) -> None:
        assert headline(CLEAN) == (
            "The one namespace holds the current credential, bound; `pull-secrets verify` proves it by a pull."
        )
        assert actions(CLEAN, "prod") == ()

    def test_a_namespace_is_counted_once_whatever_the_number_of_its_registries(self) -> None:
        rows = (GREEN, RED, replace(RED, registry="web"))
        assert headline(replace(CLEAN, rows=rows)) == "In 1 of 2 namespaces Pods may fail to pull images."

    def test_nothing_declared_is_not_called_good(self) -> None:
        assert "nothing to check" in headline(replace(CLEAN, rows=()))

    def test_what_is_to_do_comes_with_its_command_the_most_pressing_first(self) -> None:
        found = actions(TROUBLED, "prod")
        assert "`pull-secrets doctor user-dev --stack prod`" in found[0]
        assert [word for text in found for word in ("annotation", "unmanaged", "opting in", "leftover") if word in text]
        assert found[-1] == PODS_UNREADABLE

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"version": 0, "digest": None}, "no credential in Vault yet: `pull-secrets seed app --stack prod`"),
            ({"digest": None}, "cannot be proved: `pull-secrets seed app --stack prod`"),
            (
                {"expires_at": NOW + timedelta(days=3)},
                "expires on 2026-05-04: get a new one and `pull-secrets rotate app",
            ),
            ({"expires_at": NOW - timedelta(days=3)}, "expired on 2026-04-28"),
            ({"source": "sealedSecret", "expires_at": NOW}, "`pull-secrets seal app --stack prod`"),
        ],
    )
    def test_a_credential_that_needs_attention_comes_first(self, change: dict[str, object], text: str) -> None:
        found = replace(TROUBLED, credentials=(replace(CREDENTIAL, **change),))  # pyright: ignore[reportArgumentType]
        assert text in actions(found, "prod")[0]

    def test_an_expiry_far_off_is_no_matter(self) -> None:
        later = replace(CREDENTIAL, expires_at=NOW + timedelta(days=15))
        assert actions(replace(CLEAN, credentials=(later,)), "prod") == ()


class TestPage:
    def test_it_loads_nothing_and_its_script_is_the_only_one_that_runs(self) -> None:
        text = render(TROUBLED, Format.HTML, "prod", "spoke")
        assert "default-src 'none'" in text
        assert not re.search(r"(src|href)\s*=|url\(|@import", text)
        assert [tag for tag, _ in Page(text).tags].count("script") == 1

    def test_it_says_first_what_is_wrong_and_what_to_do(self) -> None:
        seen = Page(render(TROUBLED, Format.HTML, "prod", "spoke")).text
        order = ["In 1 of 2 namespaces", "pull-secrets doctor user-dev", "Warnings", "Exceptions", "All namespaces"]
        positions = [seen.index(text) for text in order]
        assert positions == sorted(positions)
        assert "ExternalSecret: not Ready: 403" in seen
        for text in ("regcred", "sandbox", "it would hang", "pull-secrets offboard gone", PODS_UNREADABLE):
            assert text in seen

    def test_a_clean_page_says_so(self) -> None:
        seen = Page(render(CLEAN, Format.HTML, "prod", "spoke")).text
        assert "There is nothing to do." in seen
        assert "Unmanaged Secrets" not in seen

    def test_no_rounding_makes_an_incomplete_coverage_complete(self) -> None:
        rows = tuple(replace(GREEN, namespace=f"n-{number}") for number in range(5000))
        assert "99.9 %" in render(replace(CLEAN, rows=(*rows, RED)), Format.HTML, "prod", "spoke")

    @given(TEXTS, TEXTS, TEXTS)
    def test_whatever_others_wrote_stays_text(self, name: str, reason: str, origin: str) -> None:
        def built(name: str, reason: str, origin: str) -> Page:
            row = replace(RED, namespace=f"n{name}", registry=f"r{name}", reason=f"m{reason}", unbound=(f"s{name}",))
            other = replace(OTHER, origin=f"o{origin}", name=f"n{name}")
            orphan = replace(ORPHAN, reason=f"w{reason}", fix=f"f{name}")
            use = replace(USE, example=f"e{name}", secrets=(f"s{origin}",))
            owner = replace(CREDENTIAL, owner=f"p{origin}")
            found = Audit((row,), (owner,), (other,), (orphan,), (use,), finished_at=NOW)
            return Page(page.render(found, f"s{name}", f"c{name}"))

        harmless, given_page = built("a", "b", "c"), built(name, reason, origin)
        # Backquotes in a name only mark code, as in our own sentences.
        without_code = [tag for tag in given_page.shape if tag[0] != "code"]
        assert without_code == [tag for tag in harmless.shape if tag[0] != "code"]

    @pytest.mark.parametrize(
        "payload", ["<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "{{ 7 * 7 }}"]
    )
    def test_known_attacks_are_shown_as_they_were_written(self, payload: str) -> None:
        text = render(replace(TROUBLED, rows=(replace(RED, reason=payload),)), Format.HTML, "prod", "spoke")
        assert payload in Page(text).text
        assert "<img" not in text


class TestCsv:
    def test_there_is_a_line_for_each_row_and_a_header(self) -> None:
        rows = list(csv.DictReader(io.StringIO(render(TROUBLED, Format.CSV, "prod", "spoke"))))
        assert [row["namespace"] for row in rows] == ["auth-dev", "user-dev"]
        assert [row["green"] for row in rows] == ["yes", "no"]
        assert rows[1]["faults"] == "ExternalSecret: not Ready: 403"
        assert set(rows[0]) == set(COLUMNS)
        assert {field.name for field in fields(Coverage)} - set(COLUMNS) == {"reason", "doubt"}, (
            "both are in the faults"
        )

    @given(TEXTS)
    def test_no_cell_is_a_formula_and_nothing_is_lost(self, text: str) -> None:
        safe = cell(text)
        assert safe.removeprefix("'") == text or safe == text
        assert not safe.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))

    @given(TEXTS)
    def test_any_reason_comes_back_from_the_file(self, text: str) -> None:
        unbound = replace(GREEN, unbound=(text,))
        (row,) = csv.DictReader(io.StringIO(render(replace(CLEAN, rows=(unbound,)), Format.CSV, "p", "s"), newline=""))
        assert row["unbound"] == cell(text)


class TestJson:
    def test_it_holds_rows_with_what_follows_from_them(self) -> None:
        document = json.loads(render(TROUBLED, Format.JSON, "prod", "spoke"))
        assert (document["green"], document["warnings"], document["requests"]) == (False, 4, 9)
        assert document["rows"][1]["faults"] == ["ExternalSecret: not Ready: 403"]
        assert [row["green"] for row in document["rows"]] == [True, False]
        assert document["totals"][0]["expected"] == 2
        assert document["credentials"][0]["seeded_at"] == "2026-04-01T12:00:00+00:00"
        assert document["finished_at"] == "2026-05-01T12:00:00+00:00"


class TestCommand:
    def test_one_report_has_one_form(self) -> None:
        done = CliRunner().invoke(app, ["audit", "--stack", "x", "--json", "--format", "csv"])
        assert isinstance(done.exception, BadInputError)
        assert "--json and --format csv" in str(done.exception)


class TestOpenMetrics:
    def read(self, found: Audit) -> dict[str, dict[tuple[str, ...], float]]:
        text = render(found, Format.OPENMETRICS, "prod", "spoke")
        assert text.endswith("# EOF\n")
        families = list(text_string_to_metric_families(text))
        assert {family.type for family in families} == {"gauge"}
        assert all(family.name.endswith("_seconds") == (family.unit == "seconds") for family in families)
        return {
            family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
            for family in families
        }

    def test_a_parser_reads_back_what_the_audit_found(self) -> None:
        soon = replace(CREDENTIAL, expires_at=NOW + timedelta(days=3))
        found = self.read(replace(TROUBLED, credentials=(soon,), notes=()))
        assert found["pull_secrets_namespaces"] == {
            ("app", "expected"): 2,
            ("app", "labelled"): 2,
            ("app", "delivered"): 1,
            ("app", "proved"): 1,
            ("app", "bound"): 2,
            ("app", "green"): 1,
        }
        assert found["pull_secrets_namespace_green"] == {("auth-dev", "app"): 1, ("user-dev", "app"): 0}
        assert found["pull_secrets_credential_seeded_timestamp_seconds"] == {
            ("app",): (NOW - timedelta(days=30)).timestamp()
        }
        assert found["pull_secrets_credential_expiry_timestamp_seconds"] == {
            ("app",): (NOW + timedelta(days=3)).timestamp()
        }
        assert found["pull_secrets_unmanaged_secrets"] == {(): 1}
        assert found["pull_secrets_orphans"] == {
            ("Secret",): 0,
            ("ExternalSecret",): 0,
            ("ServiceAccount entry",): 0,
            ("finalizer",): 1,
        }
        assert found["pull_secrets_undeclared_namespaces"] == {("app",): 1}
        assert found["pull_secrets_audit_complete"] == {(): 1}
        assert found["pull_secrets_audit_api_requests"] == {(): 9}
        assert found["pull_secrets_audit_duration_seconds"] == {(): 0.5}
        assert found["pull_secrets_audit_success_timestamp_seconds"] == {(): NOW.timestamp()}
        assert found["pull_secrets_audit_info"] == {("spoke", "prod"): 1}

    def test_what_nobody_could_read_is_left_out_and_not_zero(self) -> None:
        found = self.read(TROUBLED)
        assert "pull_secrets_undeclared_namespaces" not in found
        assert found["pull_secrets_audit_complete"] == {(): 0}

    def test_an_expiry_that_is_not_recorded_has_no_sample(self) -> None:
        assert self.read(CLEAN)["pull_secrets_credential_expiry_timestamp_seconds"] == {}

    @pytest.mark.parametrize("found", [CLEAN, TROUBLED])
    def test_a_file_for_node_exporter_and_a_push_are_in_the_text_format(self, found: Audit) -> None:
        toolchain.ensure("promtool")
        promtool = toolchain.binary("promtool")
        pushed: bytes = generate_latest(collect(found, "prod", "spoke"))
        for text in (render(found, Format.OPENMETRICS, "prod", "spoke").encode(), pushed):
            done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
            # 3 is for advice of its linter, such as a name that it would choose otherwise.
            assert done.returncode in {0, 3}, done.stderr.decode()
