"""Checks of the files that install the server elsewhere: each fits the schema of the program that reads it."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"

# How long a server takes at most to stop after its drain, in seconds: STOP_END_MAX_SECONDS and the end of its log.
STOP_SECONDS = 35

# The version of Kubernetes whose schemas are used.
KUBERNETES = "1.31.0"

# The greatest exposure of the unit that `systemd-analyze security` may find, from 0 to 10.
EXPOSURE_MAX = 1.5

# The limits of the unit for the case that this machine has no systemd.
HARDENING = {
    "DynamicUser": "yes",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictNamespaces": "yes",
    "SystemCallArchitectures": "native",
}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fits(schema, path):
    done = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path))
    return done.returncode == 0, done.stdout + done.stderr


class Kubernetes(unittest.TestCase):
    def setUp(self):
        text = (PACKAGING / "kubernetes" / "syncflow-server.yaml").read_text()
        self.objects = list(yaml.safe_load_all(text))
        [self.deployment] = [it for it in self.objects if it["kind"] == "Deployment"]
        self.pod = self.deployment["spec"]["template"]
        [self.container] = self.pod["spec"]["containers"]

    def test_every_object_fits_the_schema_of_kubernetes(self):
        for it in self.objects:
            with self.subTest(it["kind"]):
                kubernetes_validate.validate(it, KUBERNETES, strict=True)

    def test_the_schema_finds_a_misspelt_key(self):
        bad = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(bad, KUBERNETES, strict=True)

    def test_the_probes_ask_what_they_are_for(self):
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
            request = self.container[f"{probe}Probe"]["httpGet"]
            self.assertEqual((request["path"], request["port"] in ports), (path, True), probe)

    def test_the_pod_has_no_rights_and_time_to_stop(self):
        self.assertTrue(self.pod["spec"]["securityContext"]["runAsNonRoot"])
        self.assertEqual(self.pod["spec"]["securityContext"]["seccompProfile"]["type"], "RuntimeDefault")
        context = self.container["securityContext"]
        self.assertFalse(context["allowPrivilegeEscalation"])
        self.assertTrue(context["readOnlyRootFilesystem"])
        self.assertEqual(context["capabilities"]["drop"], ["ALL"])
        self.assertIn("memory", self.container["resources"]["limits"])
        self.assertGreater(self.pod["spec"]["terminationGracePeriodSeconds"], STOP_SECONDS)

    def test_the_budget_and_the_service_are_about_the_pods(self):
        labels = self.pod["metadata"]["labels"]
        [budget] = [it for it in self.objects if it["kind"] == "PodDisruptionBudget"]
        [service] = [it for it in self.objects if it["kind"] == "Service"]
        self.assertEqual(budget["spec"]["selector"]["matchLabels"].items() - labels.items(), set())
        self.assertEqual(service["spec"]["selector"].items() - labels.items(), set())
        self.assertGreater(self.deployment["spec"]["replicas"], budget["spec"]["minAvailable"])

    def test_only_the_api_is_open_to_everybody(self):
        [policy] = [it for it in self.objects if it["kind"] == "NetworkPolicy"]
        labels = self.pod["metadata"]["labels"]
        self.assertEqual(policy["spec"]["podSelector"]["matchLabels"].items() - labels.items(), set())
        self.assertEqual(policy["spec"]["policyTypes"], ["Ingress"])
        rules = {port["port"]: "from" in rule for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        names = {port["name"] for port in self.container["ports"]}
        self.assertEqual((rules, names), ({"http": False, "metrics": True}, {"http", "metrics"}))


class Compose(unittest.TestCase):
    def test_every_file_fits_the_schema_of_compose_and_limits_the_server(self):
        files = sorted((PACKAGING / "compose").glob("*.yaml"))
        self.assertEqual([path.stem for path in files], ["mongodb", "postgres", "sqlite"])
        for path in files:
            with self.subTest(path.name):
                self.assertEqual(fits("compose-spec", path), (True, fits("compose-spec", path)[1]))
                server = yaml.safe_load(path.read_text())["services"]["server"]
                self.assertEqual((server["read_only"], server["cap_drop"]), (True, ["ALL"]))
                self.assertGreater(int(server["stop_grace_period"].rstrip("s")), STOP_SECONDS)


class Image(unittest.TestCase):
    def setUp(self):
        text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        self.instructions = [line.split(None, 1) for line in lines]

    def of(self, name):
        return [rest for instruction, rest in self.instructions if instruction == name]

    def test_the_last_stage_has_no_shell_and_a_user_without_rights(self):
        stages = self.of("FROM")
        self.assertEqual(len(stages), 2)
        self.assertRegex(stages[-1], r"^gcr\.io/distroless/.*:nonroot$")
        names = {name for name, _ in self.instructions}
        known = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
        self.assertEqual(names - known, {"ENTRYPOINT", "CMD"})

    def test_the_program_itself_is_what_runs_and_what_checks_the_health(self):
        [entry] = self.of("ENTRYPOINT")
        program = json.loads(entry)
        self.assertEqual(json.loads(self.of("CMD")[0]), ["serve"])
        [health] = self.of("HEALTHCHECK")
        self.assertEqual(json.loads(health.split("CMD ", 1)[1]), [*program, "health"])
        self.assertIn(f"/image{program[0]}", " ".join(self.of("RUN")))


class Unit(unittest.TestCase):
    path = PACKAGING / "systemd" / "syncflow-server.service"

    def test_the_unit_is_hardened(self):
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str
        unit.read_string(self.path.read_text())
        service = dict(unit["Service"])
        self.assertEqual({key: service.get(key) for key in HARDENING}, HARDENING)
        self.assertGreater(int(service["TimeoutStopSec"].rstrip("s")), STOP_SECONDS)
        self.assertIn("-HUP", service["ExecReload"])

    def test_systemd_finds_no_fault_in_the_unit(self):
        if shutil.which("systemd-analyze") is None:
            self.assertTrue(self.path.exists(), "the test above reads the unit without systemd")
            return
        text = self.path.read_text().replace("/usr/local/bin/syncflow-server", "/bin/true")
        trial = Path(self.enterContext(tempfile.TemporaryDirectory())) / self.path.name
        trial.write_text(text)
        verified = run("systemd-analyze", "verify", "--man=no", str(trial))
        faults = [line for line in (verified.stdout + verified.stderr).splitlines() if self.path.stem in line]
        self.assertEqual(faults, [])
        judged = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(trial))
        exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
        self.assertIsNotNone(exposure, judged.stdout + judged.stderr)
        self.assertLessEqual(float(exposure[1]), EXPOSURE_MAX)


class Workflow(unittest.TestCase):
    path = ROOT / ".github" / "workflows" / "release.yaml"

    def test_the_workflow_fits_the_schema_of_github(self):
        self.assertEqual(fits("github-workflows", self.path), (True, fits("github-workflows", self.path)[1]))

    def test_a_release_has_checksums_and_a_list_of_dependencies(self):
        workflow = yaml.safe_load(self.path.read_text())
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        commands = "\n".join(step.get("run", "") for step in steps)
        for needed in ("sha256sum", "cargo cyclonedx", "--locked --release --bin syncflow-server"):
            self.assertIn(needed, commands)
        self.assertEqual(workflow["permissions"], {"contents": "read"})
        for name, job in workflow["jobs"].items():
            self.assertIn("timeout-minutes", job, name)


class Monitoring(unittest.TestCase):
    rules = PACKAGING / "prometheus" / "syncflow-server.rules.yaml"

    def test_every_alert_has_a_severity_a_summary_and_a_query_that_is_closed(self):
        groups = yaml.safe_load(self.rules.read_text())["groups"]
        alerts = [rule for group in groups for rule in group["rules"]]
        self.assertGreater(len(alerts), 10)
        self.assertEqual(len({rule["alert"] for rule in alerts}), len(alerts))
        for rule in alerts:
            with self.subTest(rule["alert"]):
                self.assertLessEqual(set(rule), {"alert", "expr", "for", "labels", "annotations"})
                self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
                self.assertTrue(rule["annotations"]["summary"])
                for opening, closing in ("()", "[]", "{}"):
                    self.assertEqual(rule["expr"].count(opening), rule["expr"].count(closing))

    def test_prometheus_takes_the_rules_and_its_configuration(self):
        promtool = shutil.which("promtool")
        self.assertIsNotNone(promtool, "the step finds promtool, or fetches it")
        for kind, path in (("rules", self.rules), ("config", PACKAGING / "prometheus" / "prometheus.yaml")):
            done = run(promtool, "check", kind, str(path))
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_panels_of_the_dashboard_do_not_overlap(self):
        dashboard = json.loads((PACKAGING / "grafana" / "syncflow-server.json").read_text())
        taken, ids = set(), set()
        for panel in dashboard["panels"]:
            self.assertNotIn(panel["id"], ids)
            ids.add(panel["id"])
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= cells


if __name__ == "__main__":
    unittest.main()
