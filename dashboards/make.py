#!/usr/bin/env python3
"""Writes the dashboards: boots.json, wire.json and operator.json, beside this file.

    dashboards/make.py           write them
    dashboards/make.py --check   say whether they are up to date

A panel is one line here and forty in Grafana's JSON. `{S` in a query stands for the labels that
the variables choose. The conventions are those of the Kubernetes mixins and of Grafana's
dashboard-linter; tests/watch/verify.py holds the JSON to them and runs every query.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'cluster=~"$cluster", namespace=~"$namespace", job=~"$job", instance=~"$instance"'
WINDOW = "[$__rate_interval]"


class Dashboard:
    """Panels, laid out from left to right in rows of 24 columns."""

    def __init__(self, uid, title, description):
        self.uid, self.title, self.description = uid, title, description
        self.panels, self.x, self.y, self.height = [], 0, 0, 0

    def row(self, title):
        self.y, self.x = self.y + self.height, 0
        self._add("row", title, 24, 1, {"collapsed": False, "panels": []})
        self.y, self.x, self.height = self.y + 1, 0, 0

    def panel(self, kind, title, description, unit, width, height, *targets, **more):
        panel = {
            "description": description,
            "datasource": SOURCE,
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "options": options(kind),
            "targets": [target(kind, n, *one) for n, one in enumerate(targets)],
        }
        panel["fieldConfig"]["defaults"].update(more)
        if kind == "timeseries":
            custom = {"fillOpacity": 10, "showPoints": "never", "lineWidth": 1}
            panel["fieldConfig"]["defaults"]["custom"] = custom
        if kind == "heatmap":
            # The bounds of buckets are no values with a least one.
            panel["fieldConfig"]["defaults"].pop("min")
        self._add(kind, title, width, height, panel)

    def stat(self, title, description, unit, *targets, **more):
        self.panel("stat", title, description, unit, 4, 4, *targets, **more)

    def lines(self, title, description, unit, *targets, **more):
        self.panel("timeseries", title, description, unit, 12, 8, *targets, **more)

    def _add(self, kind, title, width, height, panel):
        if self.x + width > 24:
            self.x, self.y, self.height = 0, self.y + self.height, 0
        place = {"x": self.x, "y": self.y, "w": width, "h": height}
        head = {"id": len(self.panels) + 1, "type": kind, "title": title, "gridPos": place}
        self.panels.append(head | panel)
        self.x, self.height = self.x + width, max(self.height, height)

    def json(self):
        annotations = {
            "builtIn": 1,
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)",
            "name": "Annotations & Alerts",
            "type": "dashboard",
        }
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["reveille", "netboot"],
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "",
            "links": [
                {
                    "title": "Reveille",
                    "type": "dashboards",
                    "tags": ["reveille"],
                    "asDropdown": False,
                    "includeVars": True,
                    "keepTime": True,
                }
            ],
            "annotations": {"list": [annotations]},
            "templating": {"list": variables()},
            "panels": self.panels,
        }


def target(kind, number, query, legend):
    one = {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "expr": query.replace("{S", "{" + CHOSEN).replace("[W]", WINDOW),
        "legendFormat": legend,
        "range": kind not in ("table", "bargauge"),
        "instant": kind in ("table", "bargauge"),
    }
    if kind == "heatmap":
        one["format"] = "heatmap"
    if kind == "table":
        one["format"] = "table"
    return one


def options(kind):
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {
        "timeseries": {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["mean", "max", "lastNotNull"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "stat": {"reduceOptions": last, "colorMode": "value", "graphMode": "area"},
        "bargauge": {"reduceOptions": last, "orientation": "horizontal", "displayMode": "gradient"},
        "heatmap": {
            "calculate": False,
            "yAxis": {"unit": "s"},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        },
        "table": {"showHeader": True},
    }[kind]


def variables():
    def query(name, label, text, everything):
        return {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": text, "refId": name},
            "definition": text,
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": everything,
            "current": {"text": "All", "value": "$__all"},
            "hide": 0,
        }

    one = "reveille_build_info"
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "refresh": 1,
    }
    where = 'cluster=~"$cluster", namespace=~"$namespace"'
    return [
        source,
        # Outside of Kubernetes there are no such labels: everything is also nothing.
        query("cluster", "Cluster", f"label_values({one}, cluster)", ".*"),
        query("namespace", "Namespace", f'label_values({one}{{cluster=~"$cluster"}}, namespace)', ".*"),
        query("job", "Job", f"label_values({one}{{{where}}}, job)", ".+"),
        query("instance", "Instance", f'label_values({one}{{{where}, job=~"$job"}}, instance)', ".+"),
    ]


def quantile(q, by, name, labels=""):
    by = "le" + (f", {by}" if by else "")
    return f"histogram_quantile({q}, sum by ({by}) (rate({name}_bucket{{S{labels}}}[W])))"


GOOD = ', result=~"handed-off|local-boot|phoned-home"'


def boots():
    d = Dashboard("reveille-boots", "Reveille / Boots", "Machines that boot: how many, how long, and where they stop.")
    d.row("Now")
    ratio = f"sum(rate(reveille_boots_total{{S{GOOD}}}[W])) / (sum(rate(reveille_boots_total{{S}}[W])) > 0)"
    d.stat("Boots per minute", "Boots that got to their end, in a minute.", "short",
           (f"60 * sum(rate(reveille_boots_total{{S{GOOD}}}[W]))", "boots"), decimals=1)
    d.stat("Success ratio", "Of the boots that ended: handed off, sent to their disk, or called back.", "percentunit",
           (ratio, "ratio"), max=1)
    d.stat("Median boot", "From the first packet to the end, of boots that were handed off.", "s",
           (quantile(0.5, "", "reveille_boot_seconds", ', result="handed-off"'), "p50"))
    d.stat("Under way", "Boots that go on now.", "short", ("sum(reveille_boots_running{S}) or vector(0)", "boots"))
    d.stat("Stalled", "Boots that stalled in the time shown.", "short",
           ("sum(increase(reveille_boots_stalled_total{S}[$__range]))", "boots"), decimals=0)
    d.stat("Called back", "Systems that said in the time shown that they run, or that something failed.", "short",
           ("sum by (result) (increase(reveille_boots_phoned_home_total{S}[$__range]))", "{{result}}"), decimals=0)
    d.row("Rates")
    d.lines("Boots per minute by result", "How boots ended.", "short",
            ("60 * sum by (result) (rate(reveille_boots_total{S}[W]))", "{{result}}"))
    d.lines("Success ratio", "Handed off, sent to their disk, or called back, of all that ended.", "percentunit",
            (ratio, "ratio"), max=1)
    d.lines("Boots begun by firmware and architecture", "Per minute.", "short",
            ("60 * sum by (firmware, architecture) (rate(reveille_boots_started_total{S}[W]))", "{{firmware}} {{architecture}}"))
    d.lines("Boots by loader", "Boots that ended, per minute.", "short",
            ("60 * sum by (loader) (rate(reveille_boots_total{S}[W]))", "{{loader}}"))
    d.row("Durations")
    handed = ', result="handed-off"'
    d.lines("Boot time", "From the first packet to the hand-off.", "s",
            *[(quantile(q, "", "reveille_boot_seconds", handed), f"p{q * 100:.0f}") for q in (0.5, 0.9, 0.99)])
    d.panel("heatmap", "Boot times", "How many boots took how long.", "s", 12, 8,
            ("sum by (le) (increase(reveille_boot_seconds_bucket{S}[W]))", "{{le}}"))
    d.lines("Time by stage", "Mean time from the end of the stage before to the end of this one: together, a boot.", "s",
            ("sum by (stage) (rate(reveille_boot_stage_seconds_sum{S}[W])) / (sum by (stage) (rate(reveille_boot_stage_seconds_count{S}[W])) > 0)", "{{stage}}"))
    d.panel("bargauge", "Slowest profiles", "Nine of ten boots are faster.", "s", 12, 8,
            ("topk(10, " + quantile(0.9, "profile", "reveille_boot_seconds", handed) + ")", "{{profile}}"))
    d.lines("Transfers by stage", "What the stage itself took, from the request to the last byte: nine of ten are faster.", "s",
            (quantile(0.9, "stage", "reveille_boot_transfer_seconds"), "{{stage}}"))
    d.lines("Where boots are", "Boots that go on, by the stage that they wait for.", "short",
            ("sum by (stage) (reveille_boots_running{S})", "{{stage}}"))
    d.row("Stalls")
    d.lines("Stalls by stage", "Boots per minute that did not get to this stage in time.", "short",
            ("60 * sum by (stage) (rate(reveille_boots_stalled_total{S}[W]))", "{{stage}}"))
    d.panel("bargauge", "Stalls by profile and stage", "In the time shown.", "short", 12, 8,
            ("topk(10, sum by (profile, stage) (increase(reveille_boots_stalled_total{S}[$__range])) > 0)", "{{profile}}: {{stage}}"))
    d.lines("Trouble", "Transfers of boots that were aborted and files that were refused to them, per minute.", "short",
            ("60 * sum(rate(reveille_boot_trouble_total{S}[W]))", "trouble"))
    d.lines("Events dropped", "What was seen of boots and did not fit the queue: above 0, this dashboard has gaps.", "cps",
            ("sum by (instance) (rate(reveille_boot_events_dropped_total{S}[W]))", "{{instance}}"))
    return d


def wire():
    d = Dashboard("reveille-wire", "Reveille / Wire", "DHCP, TFTP and HTTP as machines meet them.")
    d.row("DHCP")
    d.lines("Requests by type", "DHCP packets per second.", "pps",
            ("sum by (type) (rate(reveille_dhcp_requests_total{S}[W]))", "{{type}}"))
    d.lines("Replies and silences", "What became of them: replies, and the names of silences.", "pps",
            ("sum by (outcome) (rate(reveille_dhcp_requests_total{S}[W]))", "{{outcome}}"))
    d.lines("DHCPv6 by outcome", "Replies, why they gave no address, and the names of silences.", "pps",
            ("sum by (outcome) (rate(reveille_dhcp6_requests_total{S}[W]))", "{{outcome}}"))
    d.lines("IPv6 addresses", "Leases by state.", "short",
            ("sum by (subnet, state) (reveille_dhcp6_addresses{S})", "{{subnet}} {{state}}"))
    d.lines("IPv6 pools", "The part of a Subnet's IPv6 pools that is taken.", "percentunit",
            ("(sum by (subnet) (reveille_dhcp6_pool_used_addresses{S}) + sum by (subnet) (reveille_dhcp6_pool_declined_addresses{S})) / (sum by (subnet) (reveille_dhcp6_pool_addresses{S}) > 0)", "{{subnet}}"), max=1)
    d.lines("Answer time", "From a request's arrival to the moment its reply left: nine of ten are faster.", "s",
            (quantile(0.9, "type", "reveille_dhcp_answer_seconds"), "{{type}}"))
    d.lines("Not booted", "Answers without a boot file, by reason, and replies that could not be sent.", "cps",
            ("sum by (reason) (rate(reveille_dhcp_unbootable_total{S}[W]))", "{{reason}}"),
            ("sum(rate(reveille_dhcp_send_errors_total{S}[W]))", "not sent"))
    d.lines("Pools", "The part of a Subnet's pools that is taken.", "percentunit",
            ("(sum by (subnet) (reveille_dhcp_pool_used_addresses{S}) + sum by (subnet) (reveille_dhcp_pool_declined_addresses{S})) / (sum by (subnet) (reveille_dhcp_pool_addresses{S}) > 0)", "{{subnet}}"), max=1)
    d.lines("Addresses", "Leases by state, reserved addresses included.", "short",
            ("sum by (subnet, state) (reveille_dhcp_addresses{S})", "{{subnet}} {{state}}"))
    d.lines("Other DHCP servers", "Servers that machines chose instead, within the hour.", "short",
            ("sum by (subnet) (reveille_foreign_dhcp_servers{S})", "{{subnet}}"))
    d.lines("What it is on each Subnet", "Lends addresses, stands beside a server that does, looks for one, or refuses because of one.", "short",
            ("sum by (subnet, role) (reveille_dhcp_role{S}) > 0", "{{subnet}}: {{role}}"))
    d.lines("Time to write a lease", "A lease is on disk before it is promised.", "s",
            *[(quantile(q, "", "reveille_lease_commit_seconds"), f"p{q * 100:.0f}") for q in (0.5, 0.99)])
    d.row("TFTP")
    d.lines("Transfers by outcome", "Per second. `probe` asked for the size alone, as firmware does first.", "ops",
            ("sum by (outcome) (rate(reveille_tftp_transfers_total{S}[W]))", "{{outcome}}"))
    d.lines("Content sent", "By TFTP and HTTP, and what clients wrote.", "Bps",
            ("sum(rate(reveille_tftp_sent_bytes_total{S}[W]))", "TFTP"),
            ("sum by (kind) (rate(reveille_http_sent_bytes_total{S}[W]))", "HTTP {{kind}}"),
            ("sum(rate(reveille_tftp_received_bytes_total{S}[W]))", "received by TFTP"))
    d.lines("Transfer time", "Of transfers by TFTP, probes left out: nine of ten are faster.", "s",
            (quantile(0.9, "outcome", "reveille_tftp_transfer_seconds"), "{{outcome}}"))
    d.lines("Window and repetition", "Blocks that clients take before they acknowledge, and packets sent again per transfer.", "short",
            ("sum(rate(reveille_tftp_window_blocks_sum{S}[W])) / (sum(rate(reveille_tftp_window_blocks_count{S}[W])) > 0)", "window"),
            ("sum(rate(reveille_tftp_retransmits_total{S}[W])) / (sum(rate(reveille_tftp_transfers_total{S}[W])) > 0)", "sent again"))
    d.lines("Refused and ignored", "Requests that were answered with an error, and packets that changed nothing.", "cps",
            ("sum by (reason) (rate(reveille_tftp_refused_total{S}[W]))", "refused: {{reason}}"),
            ("sum by (reason) (rate(reveille_tftp_ignored_total{S}[W]))", "ignored: {{reason}}"))
    d.lines("In progress", "TFTP transfers, HTTP requests and HTTP connections.", "short",
            ("sum(reveille_tftp_active_transfers{S})", "TFTP transfers"),
            ("sum(reveille_http_in_flight_requests{S})", "HTTP requests"),
            ("sum by (door) (reveille_http_connections{S})", "HTTP connections: {{door}}"))
    d.lines("Turns on a link", "Large transfers by TFTP and HTTP: those that go, and the queue of those that wait.", "short",
            ("sum(reveille_transfers_going{S})", "go"),
            ("sum(reveille_transfers_waiting{S})", "wait"))
    d.lines("What became of turns", "Per second. `told-to-come-back` got 503; `does-not-count` moved next to nothing.", "cps",
            ("sum by (outcome) (rate(reveille_transfer_turns_total{S}[W]))", "{{outcome}}"))
    d.lines("Wait for a turn", "Of those that waited: nine of ten waited less.", "s",
            (f"{quantile(0.9, '', 'reveille_transfer_wait_seconds')} and sum(rate(reveille_transfer_wait_seconds_count{{S}}[W])) > 0", "wait"))
    d.lines("Uploads", "Files that clients wrote by TFTP.", "cps",
            ("sum by (outcome) (rate(reveille_tftp_uploads_total{S}[W]))", "{{outcome}}"))
    d.row("HTTP")
    d.lines("Requests by kind and status", "Per second.", "reqps",
            ("sum by (kind, code) (rate(reveille_http_requests_total{S}[W]))", "{{kind}} {{code}}"))
    d.lines("Answer time", "From a request to the last byte: nine of ten are faster.", "s",
            (quantile(0.9, "kind", "reveille_http_answer_seconds"), "{{kind}}"))
    d.lines("Refused", "Requests and connections, by reason.", "reqps",
            ("sum by (reason) (rate(reveille_http_refused_total{S}[W]))", "{{reason}}"))
    d.lines("Answer files", "Asked for with the token of a boot, per minute: given, or why not.", "short",
            ("60 * sum by (outcome) (rate(reveille_http_answer_files_total{S}[W]))", "{{outcome}}"))
    d.lines("Cut and full", "Answers that ended early, and times that new connections had to wait.", "cps",
            ("sum by (reason) (rate(reveille_http_cut_total{S}[W]))", "{{reason}}"),
            ("sum by (door) (rate(reveille_http_full_total{S}[W]))", "full: {{door}}"))
    d.lines("TLS handshakes", "By how they ended; a reason that is not `complete` stands in the log with its cure.", "ops",
            ("sum by (door, result) (rate(reveille_tls_handshakes_total{S}[W]))", "{{door}} {{result}}"))
    d.lines("Certificates", "Time until the certificate of a door runs out.", "s",
            ("min by (door) (reveille_tls_certificate_expiry_timestamp_seconds{S}) - time()", "{{door}}"))
    return d


def operator():
    d = Dashboard("reveille-operator", "Reveille / Operator", "The process, its manifests, and the cluster beside it.")
    d.row("Now")
    d.stat("Instances", "Programs that answer.", "short", ('sum by (version) (reveille_build_info{S})', "{{version}}"))
    d.stat("Leader", "Replicas that lead: one, or none while they change.", "short", ("sum(reveille_leader{S})", "leaders"))
    d.stat("Services down", "Parts of the process that do not run.", "short", ("count(reveille_service_up{S} == 0) or vector(0)", "services"))
    d.stat("Objects refused", "Objects with mistakes.", "short", ("sum(reveille_snapshot_refused_objects{S})", "objects"))
    d.stat("Without a snapshot", "Instances that serve nothing.", "short", ("count(reveille_snapshot_generation{S} == 0) or vector(0)", "instances"))
    d.stat("Up for", "Since the last start.", "s", ("time() - max(process_start_time_seconds{S})", "time"))
    d.row("Manifests")
    d.lines("Objects served", "By kind.", "short", ("max by (kind) (reveille_snapshot_objects{S})", "{{kind}}"))
    d.lines("Objects refused", "By kind; `unreadable` is no object at all.", "short", ("max by (kind) (reveille_snapshot_refused_objects{S})", "{{kind}}"))
    d.lines("Snapshots", "The number of the one that is served.", "short", ("max by (instance) (reveille_snapshot_generation{S})", "{{instance}}"))
    d.lines("Time to compile", "All objects into a snapshot: nine of ten are faster.", "s",
            (quantile(0.9, "instance", "reveille_snapshot_compile_seconds"), "{{instance}}"))
    d.lines("Discovery", "Machines that wait for approval, and those that are about to.", "short",
            ("sum(reveille_discovered_waiting{S})", "wait for approval"),
            ("sum(reveille_discovery_candidates{S})", "candidates"))
    d.lines("Discovered", "Machines that were made and cleaned up, packets that came to nothing, and what could not be done, per minute.", "short",
            ("60 * sum(rate(reveille_discovered_total{S}[W]))", "made"),
            ("60 * sum(rate(reveille_discovered_expired_total{S}[W]))", "cleaned up"),
            ("60 * sum by (reason) (rate(reveille_discovery_dropped_total{S}[W]))", "nothing: {{reason}}"),
            ("60 * sum by (verb) (rate(reveille_discovery_errors_total{S}[W]))", "failed: {{verb}}"))
    d.row("Cluster")
    d.lines("Watch errors", "By reason.", "cps", ("sum by (instance, reason) (rate(reveille_watch_errors_total{S}[W]))", "{{instance}} {{reason}}"))
    d.lines("Status writes", "To the API server, by outcome.", "wps", ("sum by (outcome) (rate(reveille_status_writes_total{S}[W]))", "{{outcome}}"))
    d.lines("Queues", "Objects whose status, and addresses whose DhcpLease, is to be looked at.", "short",
            ("sum(reveille_status_queue_length{S})", "status"), ("sum(reveille_mirror_pending{S})", "leases"))
    d.lines("Events and leases", "Events by what became of them, and writes of DhcpLease objects.", "wps",
            ("sum by (outcome) (rate(reveille_events_total{S}[W]))", "Events: {{outcome}}"),
            ("sum by (verb, result) (rate(reveille_mirror_writes_total{S}[W]))", "leases: {{verb}} {{result}}"))
    d.lines("Leadership", "Who leads: 1 for yes.", "short", ("reveille_leader{S}", "{{instance}}"))
    d.lines("Changes of leadership", "Changes, and requests for the Lease object that failed.", "cps",
            ("sum(rate(reveille_leader_transitions_total{S}[W]))", "changes"),
            ("sum(rate(reveille_leader_errors_total{S}[W]))", "failed requests"))
    d.row("Process")
    d.lines("Services", "1 where it runs.", "short", ("min by (service) (reveille_service_up{S})", "{{service}}"), max=1)
    d.lines("Restarts", "Per minute.", "short", ("60 * sum by (service) (rate(reveille_service_restarts_total{S}[W]))", "{{service}}"))
    d.lines("Processors", "Cores in use.", "short", ("rate(process_cpu_seconds_total{S}[W])", "{{instance}}"))
    d.lines("Memory", "In use.", "bytes", ("process_resident_memory_bytes{S}", "{{instance}}"))
    d.lines("Files and threads", "Open file descriptors and threads.", "short",
            ("process_open_fds{S}", "{{instance}} files"), ("process_threads{S}", "{{instance}} threads"))
    d.lines("Disk free", "The part that is left where leases and artifacts are.", "percentunit",
            ("reveille_disk_free_bytes{S} / (reveille_disk_size_bytes{S} > 0)", "{{instance}} {{folder}}"), max=1)
    d.row("Artifacts and loaders")
    d.lines("Artifacts", "By their state.", "short", ("sum by (state) (reveille_artifacts{S})", "{{state}}"))
    d.lines("Fetched", "Bytes of artifacts that came over the network.", "Bps",
            ("sum(rate(reveille_artifact_fetched_bytes_total{S}[W]))", "fetched"))
    d.lines("Tries to fetch", "By what came of them.", "ops",
            ("sum by (result) (rate(reveille_artifact_fetches_total{S}[W]))", "{{result}}"))
    d.lines("Time of a fetch", "Mean, verified.", "s",
            ("sum(rate(reveille_artifact_fetch_seconds_sum{S}[W])) / (sum(rate(reveille_artifact_fetch_seconds_count{S}[W])) > 0)", "mean"))
    d.lines("Volume of artifacts", "What is served, and what is free.", "bytes",
            ("sum by (instance) (reveille_artifact_bytes{S})", "{{instance}} served"),
            ("sum by (instance) (reveille_artifact_volume_free_bytes{S})", "{{instance}} free"))
    d.lines("Damaged and thrown away", "Files that a scrub found damaged; what nobody wants any more.", "ops",
            ("sum(rate(reveille_artifact_damaged_files_total{S}[W]))", "damaged"),
            ("sum(rate(reveille_artifact_swept_total{S}[W]))", "thrown away"))
    d.lines("Loaders", "The file of each architecture.", "short",
            ("sum by (architecture, from) (reveille_loader_info{S})", "{{architecture}} {{from}}"))
    d.lines("Loaders at the start", "What became of those on the volume.", "ops",
            ("sum by (result) (rate(reveille_loaders_seeded_total{S}[W]))", "{{result}}"))
    d.row("Leases and log")
    d.lines("Log lines lost", "Lines that nobody took fast enough.", "cps",
            ("sum by (instance) (rate(reveille_log_lines_dropped_total{S}[W]))", "{{instance}}"))
    d.lines("Lease transactions", "Written, and failed.", "wps",
            ("sum(rate(reveille_lease_commits_total{S}[W]))", "written"),
            ("sum(rate(reveille_lease_commit_errors_total{S}[W]))", "failed"))
    d.lines("Leases taken over", "Leases of another replica that this one goes on with.", "short",
            ("sum by (instance) (reveille_lease_claims{S})", "{{instance}}"))
    d.lines("Changes in a transaction", "Lease changes that shared one: under load they share more.", "short",
            ("sum(rate(reveille_lease_commit_changes_sum{S}[W])) / (sum(rate(reveille_lease_commit_changes_count{S}[W])) > 0)", "changes"))
    return d


def main():
    stale = []
    for name, dashboard in (("boots", boots()), ("wire", wire()), ("operator", operator())):
        path = HERE / f"{name}.json"
        text = json.dumps(dashboard.json(), indent=2) + "\n"
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not up to date: {', '.join(stale)}; run dashboards/make.py")


if __name__ == "__main__":
    main()
