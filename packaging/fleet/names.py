"""Compares the names in dashboard, rules and docs/fleet.md with the source, and checks the dashboard.

Usage: names.py FILE, from the repository's root. Writes the dashboard's expressions to FILE as rules, for promtool to parse."""

import json
import re
import sys

FOLDER = "packaging/fleet/"
# What node_exporter and Prometheus themselves provide.
OTHERS = {"up", "node_textfile_mtime_seconds"}
problems = []


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bportraitd_[a-z_]+\b", text))


# Names in the tests of the source prove nothing.
source = read("src/service/metrics.rs").split("#[cfg(test)]")[0]
written = set(re.findall(r'"(portraitd_[a-z_]+)"', source))
assert len(written) > 5, written

dashboard = json.loads(read(FOLDER + "portraitd.dashboard.json"))
rules = read(FOLDER + "portraitd.rules.yml")
page = read("docs/fleet.md")
expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
queries = [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
used = {
    "the dashboard": names_in(" ".join(expressions + queries)),
    "the rules": names_in(rules),
    "the rules' test": names_in(read(FOLDER + "portraitd.test.yml")),
    "docs/fleet.md": {name for name in names_in(page) if not name.endswith("_")},
}
for where, names in used.items():
    for name in sorted(names - written):
        problems.append(f"{where}: no metric {name} is written by src/service/metrics.rs")
    print(f"{where}: {len(names)} metrics")
for name in sorted((used["the dashboard"] | used["the rules"]) - used["docs/fleet.md"]):
    problems.append(f"docs/fleet.md does not explain {name}")

# Alerts: each has a section on the page and a test.
alerts = re.findall(r"alert: (\w+)", rules)
for alert in alerts:
    if f"`{alert}`" not in page:
        problems.append(f"docs/fleet.md does not explain the alert {alert}")
    if f"alertname: {alert}\n" not in read(FOLDER + "portraitd.test.yml"):
        problems.append(f"portraitd.test.yml has no test of the alert {alert}")
for name in set(re.findall(r"`(Portraitd\w+)`", page)) - set(alerts):
    problems.append(f"docs/fleet.md: there is no alert {name}")

# The keys of `stats --json` stand in a table under a heading.
keys = set(re.findall(r'put\("([a-z_]+)"', read("src/pipeline/camera/status.rs")))
section = page.split("## portraitctl stats")[1].split("\n## ")[0]
documented = set(re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE))
print(f"portraitctl stats: {len(documented)} keys")
for name in sorted(documented ^ keys):
    problems.append(f"portraitctl stats: {name} is {'not documented' if name in keys else 'not a key'}")

# The dashboard.
variables = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval", "__all"}
for name in set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) - variables:
    problems.append(f"the dashboard has no variable ${name}")
panels = dashboard["panels"]
if len({panel["id"] for panel in panels}) != len(panels):
    problems.append("two panels have one id")
taken = set()
for panel in panels:
    place = panel["gridPos"]
    cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
    if not panel["targets"] or cells & taken or place["x"] + place["w"] > 24:
        problems.append(f"panel {panel['title']}: no expression, or over another panel, or outside the grid")
    if not panel["description"]:
        problems.append(f"panel {panel['title']}: no description")
    taken |= cells
if not expressions:
    problems.append("the dashboard has no expressions")

# The variables as Grafana would replace them.
with open(sys.argv[1], "w", encoding="utf-8") as file:
    file.write("groups:\n  - name: dashboard\n    rules:\n")
    for number, expression in enumerate(expressions):
        text = expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$camera", ".*")
        file.write(f"      - record: dashboard:{number}\n        expr: {json.dumps(text)}\n")

for problem in problems:
    print(f"error: {problem}", file=sys.stderr)
sys.exit(bool(problems))
