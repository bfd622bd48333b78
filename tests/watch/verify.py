"""Holds the dashboards, the metrics and the alerts to what a live Prometheus says.

    verify.py dashboards PROMETHEUS DASHBOARDS METRICS.md RULES PICTURES
    verify.py alerts PROMETHEUS RULES [UNPROVOKED...]
    verify.py moved METRICS.md BEFORE AFTER...

tests/watch runs it beside the real program. What it draws are drawings of the dashboards' queries,
not Grafana's pictures.
"""
import json
import math
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# Queries that may answer nothing in the test, by the metric that they need: why.
MAY_BE_EMPTY = {
    "reveille_http_full_total": "takes 1,024 connections at once; tests/wire_http.rs has a door with fewer",
    "reveille_tftp_uploads_total": "nobody may write; tests/wire_tftp.rs has a service that takes files",
    "reveille_transfer_turns_total": "the files of the storm are small; src/governor has its tests",
    "reveille_transfer_wait_seconds": "takes more large transfers at once than a storm here makes",
    "reveille_discovery_errors_total": "takes an API server that refuses a Machine",
    "reveille_artifact_fetch_seconds": "the storm boots from the tree; tests/artifact_store fetches",
    "reveille_loaders_seeded_total": "no folder of loaders to take over; src/loaders has its tests",
}
# Metrics that stand still in the test: why.
MAY_STAND_STILL = {
    **MAY_BE_EMPTY,
    "process_max_fds": "a limit",
    "reveille_tftp_received_bytes_total": "nobody may write; tests/wire_tftp.rs has a service that takes files",
    "reveille_transfers_going": "the files of the storm are small; src/governor has its tests",
    "reveille_transfers_waiting": "takes more large transfers at once than a storm here makes",
    "process_start_time_seconds": "the start",
    "reveille_boot_events_dropped_total": "takes more events than a storm here makes",
    "reveille_artifact_bytes": "the storm boots from the tree; tests/artifact_store fetches",
    "reveille_artifact_damaged_files_total": "takes a damaged volume; tests/artifact_store has one",
    "reveille_artifact_fetched_bytes_total": "the storm boots from the tree; tests/artifact_store fetches",
    "reveille_artifact_swept_total": "takes an hour of grace",
    "reveille_artifact_volume_free_bytes": "may stay the same for minutes",
    "reveille_build_info": "always 1",
    "reveille_loader_info": "always 1",
    "reveille_discovery_candidates": "a stranger is one for a moment only",
    "reveille_lease_claims": "takes a second replica; tests/cluster hands leases over",
    "reveille_mirror_pending": "what waits is written within a second",
    "reveille_status_queue_length": "what waits is looked at within a second",
    "reveille_dhcp_pool_declined_addresses": "tests/scenarios has declined addresses; they need a day to come back",
    "reveille_dhcp6_pool_declined_addresses": "tests/scenarios has declined addresses; they need a day to come back",
    "reveille_dhcp_send_errors_total": "takes an interface that goes away between a request and its reply",
    "reveille_discovered_expired_total": "takes days",
    "reveille_leader_transitions_total": "one replica leads from its beginning; tests/cluster changes leaders",
}
# Metrics that no panel and no alert shows: why.
NOT_SHOWN = {
    "process_max_fds": "the process raises its own limit at the start",
    "process_virtual_memory_bytes": "address space is no memory",
}
VALUES = {"$__rate_interval": "20s", "$__range": "5m", "$__interval": "5s"}


def ask(prometheus, path, **query):
    url = f"{prometheus}{path}?{urllib.parse.urlencode(query, doseq=True)}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{query.get('query')}: {json.load(error)['error']}") from error


def described(page):
    """Kinds and units of the metrics, as the page has them."""
    row = re.compile(r"\| `(\w+)` \| (counter|gauge|histogram) \| [^|]* \| ([^|]*) \|")
    return {m[1]: (m[2], m[3].strip()) for m in row.finditer(pathlib.Path(page).read_text())}


def names_in(text, metrics):
    """Metrics that a query names, without the suffixes of histograms."""
    found = {}
    for name in re.findall(r"\b((?:reveille|process)_\w+)\b", text):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        found[name] = base if metrics.get(base, ("",))[0] == "histogram" else name
    return found


class Check:
    def __init__(self, prometheus, metrics):
        self.prometheus, self.metrics = prometheus, metrics
        self.errors, self.seen, self.queries = [], set(), 0

    def error(self, text):
        if text not in self.errors:
            self.errors.append(text)

    def dashboard(self, path):
        dash = json.loads(path.read_text())
        where = path.name
        for key, value in (("editable", False), ("uid", f"reveille-{path.stem}")):
            if dash[key] != value:
                self.error(f"{where}: {key} is {dash[key]}")
        variables = {v["name"]: v for v in dash["templating"]["list"]}
        if list(variables) != ["datasource", "cluster", "namespace", "job", "instance"]:
            self.error(f"{where}: variables {list(variables)}")
        for variable in variables.values():
            self.variable(where, variable, variables)
        self.layout(where, dash["panels"])
        drawn = []
        for panel in dash["panels"]:
            if panel["type"] != "row":
                drawn.append((panel, self.panel(f"{where}: {panel['title']!r}", panel, variables)))
        return dash, drawn

    def variable(self, where, variable, variables):
        if variable["type"] != "query":
            return
        if variable["refresh"] != 2:
            self.error(f"{where}: variable {variable['name']} is not refreshed with the time")
        query = variable["query"]["query"]
        parts = re.fullmatch(r"label_values\((.+), *(\w+)\)", query)
        values = ask(self.prometheus, f"/api/v1/label/{parts[2]}/values", **{"match[]": expand(parts[1], variables)})
        if not values:
            self.error(f"{where}: variable {variable['name']} has no values: {query}")

    def layout(self, where, panels):
        taken, ids = {}, [panel["id"] for panel in panels]
        if len(set(ids)) != len(ids):
            self.error(f"{where}: panel ids repeat")
        for panel in panels:
            g = panel["gridPos"]
            if g["x"] + g["w"] > 24:
                self.error(f"{where}: {panel['title']!r} leaves the 24 columns")
            for place in ((x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])):
                if place in taken:
                    self.error(f"{where}: {panel['title']!r} overlaps {taken[place]!r}")
                taken[place] = panel["title"]

    def panel(self, where, panel, variables):
        if not panel.get("description"):
            self.error(f"{where} has no description")
        if panel["datasource"].get("uid") != "${datasource}":
            self.error(f"{where} does not use $datasource")
        if not panel["targets"]:
            self.error(f"{where} asks nothing")
        unit = panel["fieldConfig"]["defaults"].get("unit")
        series, empty = [], []
        for target in panel["targets"]:
            query, legend = target["expr"], target["legendFormat"]
            self.queries += 1
            self.text(where, query)
            self.unit(where, query, unit)
            found, values = self.run(where, query, legend, variables)
            series += values
            if not found:
                empty.append(query)
        for query in empty:
            if not any(name in MAY_BE_EMPTY for name in names_in(query, self.metrics).values()):
                self.error(f"{where}: answers nothing: {query}")
        return series

    def text(self, where, query):
        for label in ("cluster", "namespace", "job", "instance"):
            if query.count(f'{label}=~"${label}"') != query.count("{cluster=~"):
                self.error(f"{where}: {label} is not selected everywhere")
        for name, base in names_in(query, self.metrics).items():
            self.seen.add(base)
            if base not in self.metrics:
                self.error(f"{where}: there is no metric {name}")
        for call, name in re.findall(r"\b(rate|increase)\((\w+)", query):
            base = names_in(name, self.metrics)[name]
            if self.metrics.get(base, ("",))[0] == "gauge":
                self.error(f"{where}: {call}() of {name}, a gauge")
        for window in re.findall(r"\[([^\]]+)\]", query):
            if window not in ("$__rate_interval", "$__range"):
                self.error(f"{where}: window [{window}]")
        plain = re.sub(r"\b(?:rate|increase)\(\w+", "", query)
        for name, base in names_in(plain, self.metrics).items():
            if self.metrics.get(base, ("",))[0] == "counter":
                self.error(f"{where}: the counter {name} without rate()")

    def unit(self, where, query, unit):
        bases = list(names_in(query, self.metrics).values())
        units = {self.metrics[base][1] for base in bases if base in self.metrics}
        mean = "_sum{" in query and "_count{" in query
        if query.startswith("time() -") or query.endswith("- time()") or (units == {"seconds"} and ("histogram_quantile" in query or mean)):
            fits = {"s"}
        elif "le) (increase" in query:
            fits = {"s"}
        elif " / " in query and not mean:
            fits = {"percentunit"} if "retransmits" not in query else {"short"}
        elif units == {"bytes"}:
            fits = {"Bps"} if "rate(" in query else {"bytes"}
        elif "process_cpu" in query or query.startswith("60 * ") or "increase(" in query or "rate(" not in query or mean:
            fits = {"short"}
        else:
            fits = {"ops", "pps", "cps", "reqps", "wps"}
        if unit not in fits:
            self.error(f"{where}: unit {unit}, not {' or '.join(sorted(fits))}: {query}")

    def run(self, where, query, legend, variables):
        query, now = expand(query, variables), time.time()
        if "$" in query:
            self.error(f"{where}: unknown variable in {query}")
        found = ask(self.prometheus, "/api/v1/query", query=query)["result"]
        ranged = ask(self.prometheus, "/api/v1/query_range", query=query, start=now - 90, end=now, step=1)["result"]
        if any(one["value"][1] in ("NaN", "+Inf", "-Inf") for one in found):
            # A quantile over nothing within the window: nothing ended just then.
            quiet = "histogram_quantile" in query and any(
                value not in ("NaN", "+Inf", "-Inf") for one in ranged for _, value in one["values"]
            )
            if not quiet:
                self.error(f"{where}: not a number: {query}")
        for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", legend):
            if any(label not in one["metric"] for one in found):
                self.error(f"{where}: the legend's {label} is not in the result")
        name = lambda metric: re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: metric.get(m[1], "?"), legend)
        series = []
        for one in ranged:
            values = [(float(at) - now, float(value)) for at, value in one["values"]]
            series.append((name(one["metric"]), [(a, v) for a, v in values if math.isfinite(v)]))
        return bool(found) or any(values for _, values in series), [one for one in series if one[1]]


def expand(query, variables):
    for name, variable in variables.items():
        query = query.replace(f'"${name}"', f'"{variable.get("allValue", ".+")}"')
    for name, value in VALUES.items():
        query = query.replace(name, value)
    return query


def dashboards(prometheus, folder, page, rules, pictures):
    metrics = described(page)
    check = Check(prometheus, metrics)
    pathlib.Path(pictures).mkdir(parents=True, exist_ok=True)
    panels = 0
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        dash, drawn = check.dashboard(path)
        panels += len(drawn)
        draw(dash, drawn, pathlib.Path(pictures) / f"{path.stem}.png")
    alerted = set(names_in(pathlib.Path(rules).read_text(), metrics).values())
    for name in metrics:
        if name in check.seen | alerted:
            if name in NOT_SHOWN:
                check.error(f"{name} is shown, and verify.py says that it is not")
        elif name not in NOT_SHOWN:
            check.error(f"{name} is on no panel and in no alert; show it, or say in verify.py why not")
    print(f"{panels} panels, {check.queries} queries, {len(metrics)} metrics, {len(check.errors)} problems")
    finish(check.errors)


def alerts(prometheus, rules, *unprovoked):
    """Every alert of the rules has fired within the last minutes."""
    names = re.findall(r"- alert: (\w+)", pathlib.Path(rules).read_text())
    until = time.time() + 40
    while True:
        result = ask(prometheus, "/api/v1/query", query='count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[10m]))')["result"]
        fired = {one["metric"]["alertname"] for one in result}
        missing = [name for name in names if name not in fired and name not in unprovoked]
        if not missing or time.time() > until:
            break
        time.sleep(1)
    print(f"{len(fired)} of {len(names)} alerts fired: {', '.join(sorted(fired))}")
    finish([f"{name} did not fire" for name in missing])


def moved(page, before, *after):
    """Every metric has another value than before, or any where there was none."""
    first = samples(before)
    changed = set()
    for path in after:
        for series, value in samples(path).items():
            if first.get(series, 0.0) != value:
                changed.add(re.match(r"\w+", series)[0])
    still = []
    for name, (kind, _) in described(page).items():
        moves = {name, f"{name}_count"} & changed
        if not moves and name not in MAY_STAND_STILL:
            still.append(f"{name} did not move")
    print(f"{len(described(page)) - len(MAY_STAND_STILL)} metrics are to move, {len(still)} did not")
    finish(still)


def samples(path):
    lines = pathlib.Path(path).read_text().splitlines()
    return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))}


def finish(errors):
    for error in errors:
        print(error)
    sys.exit(bool(errors))


# === the drawing ===


def shown(value, unit):
    if unit == "percentunit":
        return f"{value * 100:.0f}%"
    if unit == "s":
        return f"{value:.1f} s" if value >= 0.1 else f"{value * 1000:.1f} ms"
    if unit in ("Bps", "bytes"):
        return f"{value / 1e6:.1f} MB" + ("/s" if unit == "Bps" else "")
    return f"{value:.2f}".rstrip("0").rstrip(".")


def draw(dash, drawn, out):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plot
    from matplotlib.ticker import FuncFormatter

    plot.style.use("dark_background")
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dash["panels"])
    high = rows * 0.36 + 0.6
    figure = plot.figure(figsize=(15, high))
    figure.patch.set_facecolor("#111217")
    top = 1 - 0.6 / high
    figure.text(0.02, 1 - 0.35 / high, dash["title"], fontsize=13, weight="bold")
    figure.text(0.98, 1 - 0.35 / high, "drawn from the dashboard's queries; not Grafana", fontsize=8, ha="right", color="#888888")
    for panel in dash["panels"]:
        g = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(0.02, top * (1 - (g["y"] + 0.8) / rows), panel["title"], fontsize=10, weight="bold", color="#aaaaaa")
    for panel, series in drawn:
        g, unit = panel["gridPos"], panel["fieldConfig"]["defaults"]["unit"]
        box = [0.035 + 0.96 * g["x"] / 24, top * (1 - (g["y"] + g["h"] - 0.9) / rows), 0.96 * g["w"] / 24 - 0.045, top * (g["h"] - 2.1) / rows]
        axes = figure.add_axes(box)
        axes.set_facecolor("#181b1f")
        axes.set_title(panel["title"], loc="left", fontsize=8)
        axes.tick_params(labelsize=6)
        kind = panel["type"]
        if kind == "stat":
            axes.axis("off")
            words = [(f"{name} " if len(series) > 1 else "") + shown(values[-1][1], unit) for name, values in series]
            axes.text(0.5, 0.4, "\n".join(words) or "-", ha="center", va="center", fontsize=20 if len(words) < 2 else 11, color="#73bf69")
        elif kind == "bargauge":
            bars = sorted(((values[-1][1], name) for name, values in series), reverse=True)[:10]
            axes.barh([name for _, name in bars][::-1], [value for value, _ in bars][::-1], color="#ff9830")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: shown(value, unit)))
        elif kind == "heatmap":
            heat(axes, series)
        else:
            for name, values in series:
                axes.plot([at for at, _ in values], [value for _, value in values], label=name, lw=1.1)
            axes.grid(alpha=0.15)
            axes.set_ylim(bottom=0)
            axes.set_xlim(-90, 0)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: shown(value, unit)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
            if series:
                axes.legend(fontsize=5.5, loc="upper left", ncols=1 + len(series) // 9, framealpha=0.4)
    figure.savefig(out, dpi=75, facecolor=figure.get_facecolor())
    plot.close(figure)


def heat(axes, series):
    """Buckets hold all that is below them; Grafana shows the difference, and so do we."""
    bounds = sorted(((float(name), dict((round(at), value) for at, value in values)) for name, values in series if name != "+Inf"))
    times = sorted({at for _, values in bounds for at in values})
    grid, below = [], dict.fromkeys(times, 0.0)
    for _, values in bounds:
        grid.append([max(values.get(at, 0.0) - below[at], 0.0) for at in times])
        below = {at: values.get(at, 0.0) for at in times}
    if times:
        axes.imshow(grid, aspect="auto", origin="lower", cmap="inferno", extent=(times[0], times[-1], 0, len(bounds)))
        axes.set_yticks([n + 1 for n in range(len(bounds))], [f"{bound:g} s" for bound, _ in bounds])


if __name__ == "__main__":
    {"dashboards": dashboards, "alerts": alerts, "moved": moved}[sys.argv[1]](*sys.argv[2:])
