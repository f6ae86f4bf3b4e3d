"""Every query of the dashboard, the alerts and the autoscalers finds something in what the server exports.

They run in Prometheus' own engine over scrapes of real servers. Comparisons and the values of reasons are
taken out of alerts first, since nothing of what they tell has happened; each alert has a test of its own.
"""

import json
import re

import pytest
import render
import scrape
import yaml

FILES = render.CHART / "files"
ALERTS = FILES / "alerts.yaml"
# A range that holds some scrapes, as Grafana picks it.
GRAFANA = {"$__rate_interval": "5m", "$namespace": ".*", "$fleet": ".*"}
NAME = re.compile(r"\bscalesocket_[a-z_]+")
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture(scope="session")
def series(binary, told):
    return scrape.series(binary, told[0])


@pytest.fixture
def find(series, tmp_path, tool):
    """Says what promtool says of expressions that find nothing."""

    def judge(*expressions):
        path = tmp_path / "queries.yaml"
        path.write_text(yaml.safe_dump(scrape.unit_test(series, expressions)))
        try:
            render.run(tool("promtool"), "test", "rules", path)
        except render.Refused as refusal:
            return str(refusal)
        return ""

    return judge


def of_dashboard():
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in GRAFANA.items():
                query = query.replace(variable, value)
            yield query


def of_alerts():
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            query = re.sub(r' (>|<|==) ([\d.]+)$', r" \1 bool \2", rule["expr"])
            yield re.sub(r'(reason|status|code|result)(=~|!~|=)"[^"]*"', r'\1=~".+"', query)


def scaled_objects():
    for _, text in render.everything():
        yield from (each for each in render.objects(text) if each["kind"] == "ScaledObject")


def of_scalers():
    for each in scaled_objects():
        for trigger in each["spec"]["triggers"]:
            query = trigger["metadata"].get("query", "")
            if query:
                yield re.sub(r'(namespace|fleet)="[^"]*"', r'\1=~".*"', query)


QUERIES = sorted({*of_dashboard(), *of_alerts(), *of_scalers()})


def test_there_are_queries_of_each_kind():
    assert len(list(of_dashboard())) > 30 and list(of_alerts()) and list(of_scalers())


@pytest.mark.parametrize("query", QUERIES)
def test_it_finds_something(query, find):
    assert find(query) == ""


@pytest.mark.parametrize(
    "query",
    [
        "sum(scalesocket_rooms_total)",
        'sum(scalesocket_rooms{nobody=~".+"})',
        "sum by (le) (rate(scalesocket_spawn_seconds_count{le=~\".+\"}[5m])) > 0",
    ],
)
def test_a_wrong_name_or_label_would_be_seen(query, find):
    assert "FAILED" in find(query)


@pytest.mark.parametrize("query", QUERIES)
def test_what_it_groups_by_is_there(query, series):
    """A label that is not there groups everything together, in silence."""
    names = {HISTOGRAM.sub("", name) for name in NAME.findall(query)}
    labels = {label for name, held, _ in series if HISTOGRAM.sub("", name) in names for label in held}
    for group in re.findall(r"\b(?:by|on) \(([^)]*)\)|\bon\(([^)]*)\)", query):
        for label in "".join(group).split(","):
            assert label.strip() in labels, (label, names)


def test_what_keda_reads_of_stats_is_there(told):
    """Rooms are open there, so a figure of 0 would be another one's."""
    _, stats = told
    triggers = [trigger for each in scaled_objects() for trigger in each["spec"]["triggers"]]
    places = {t["metadata"]["valueLocation"] for t in triggers if t["type"] == "metrics-api"}
    assert places
    for place in places:
        figure = stats
        for name in place.split("."):
            figure = figure[name]
        assert figure > 0, place


def test_what_a_metrics_adapter_is_asked_for_is_there(series):
    """Of each pod; what `External` asks for is defined by whoever runs the adapter."""
    text = render.helm(None, "--set", "autoscaling.hpa.enabled=true")
    (scaler,) = [each for each in render.objects(text) if each["kind"] == "HorizontalPodAutoscaler"]
    names = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
    assert names and names <= {name for name, _, _ in series}


def test_legends_use_labels_of_their_queries():
    for panel in json.loads((FILES / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            grouped = set(re.findall(r"[a-z_]+", "".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            free = {"pod"} if " by " not in target["expr"] else set()
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped | free, panel["title"]


def test_the_rules_are_rules(tool):
    render.run(tool("promtool"), "check", "rules", ALERTS)


def test_alerts_fire_when_they_should(tool):
    render.run(tool("promtool"), "test", "rules", render.ROOT / "tests/chart/alerts_test.yaml")


def test_every_alert_fires_in_a_test_and_is_silent_in_one():
    wanted = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    tests = yaml.safe_load((render.ROOT / "tests/chart/alerts_test.yaml").read_text())["tests"]
    fires, silent = set(), set()
    for test in tests:
        for check in test["alert_rule_test"]:
            (fires if check.get("exp_alerts") else silent).add(check["alertname"])
    assert fires == silent == wanted


def test_values_that_alerts_look_for_are_documented():
    page = (render.ROOT / "docs/protocol.md").read_text()
    text = ALERTS.read_text()
    for reasons in re.findall(r'reason=~"([^"]*)"', text):
        for reason in reasons.split("|"):
            assert f"`{reason}`" in page, reason
    for code in re.findall(r'code="(\d{4})"', text):
        assert f"| {code} |" in page, code
    fleet = "".join(path.read_text() for path in (render.ROOT / "src/cluster").rglob("*.rs"))
    for results in re.findall(r'result=~"([^"]*)"', text):
        for result in results.split("|"):
            assert f'"{result}"' in fleet, result
