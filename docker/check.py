"""The checks of `check`: problems are told one a line, all of them, and the exit code is 1 when there are some."""

import importlib.resources
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python
import jsonschema
import kubernetes_validate
import yaml

HERE = Path(sys.argv[1])
# A built sluice, which is asked whether it takes what it would be told.
SLUICE = sys.argv[2] if len(sys.argv) > 2 else None
CHART = HERE / "helm" / "sluice"
# The oldest that the chart allows, and the newest known here.
KUBERNETES = ["1.27", kubernetes_validate.latest_version()]
OTHERS = {"ScaledObject": "keda.sh/v1alpha1", "ServiceMonitor": "monitoring.coreos.com/v1"}
UNIT = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
# Sluice's own units, as PostgreSQL reads them.
SIZE = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
SECRET_NAME = re.compile(r"PASSWORD$|SECRET$|_KEY$|TOKEN$|CATALOG__URL$")

failures = []
checks = 0


def expect(holds, where, what):
    global checks
    checks += 1
    if not holds:
        failures.append(f"{where}: {what}")


def quantity(text):
    """Bytes of a Kubernetes quantity."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    return float(number) * UNIT[unit]


def size(text):
    """Bytes of a size as the server and compose read it."""
    number, unit = re.fullmatch(r"([0-9.]+) ?([kmgt]?)(?:i?b)?", str(text).strip().lower()).groups()
    return float(number) * SIZE[unit]


def seconds(text):
    number, unit = re.fullmatch(r"([0-9]+)(s|m|min)", str(text)).groups()
    return int(number) * (1 if unit == "s" else 60)


LAKE = {"locations": ["s3://lake/tables/"], "warehouse": "s3://lake/warehouse/"}
CASES = {
    "default": {},
    "lake": {**LAKE, "stores": {"environmentSecrets": ["lake"], "environment": {"AWS_REGION": "eu-central-1"}}},
    "tls": {"tls": {"enabled": True, "existingSecret": "server-tls", "clientCa": True}},
    "existing secrets": {
        "cluster": {"existingSecret": "own-cluster", "key": "token"},
        "auth": {"initialPassword": {"existingSecret": "own-password", "key": "pw"}},
        "catalog": {"existingSecret": "own-catalog"},
    },
    "hpa external": {"autoscaling": {"type": "hpa"}},
    "hpa pods": {"autoscaling": {"type": "hpa", "hpa": {"metric": "pods", "selector": {"matchLabels": {"a": "b"}}}}},
    "hpa cpu": {"autoscaling": {"type": "hpa", "hpa": {"metric": "cpu"}}},
    "keda": {
        "autoscaling": {"type": "keda", "keda": {"serverAddress": "http://prometheus:9090", "authenticationRef": "prom"}}
    },
    "no network policy": {"networkPolicy": {"enabled": False}},
    "closed network": {
        "networkPolicy": {
            "clients": [{"podSelector": {"matchLabels": {"client": "yes"}}}],
            "monitoring": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "egress": {"enabled": True, "to": [{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 443}]}]},
        }
    },
    "own memory": {
        "executors": {"memory": "6GB", "threads": 3, "drainTimeoutSeconds": 600, "podAnnotations": {"a": "b"}},
        "coordinator": {"memory": "3500MB", "podDisruptionBudget": {"enabled": True}, "podLabels": {"team": "x"}},
    },
    "placed": {
        "executors": {
            "workDir": {"type": "ephemeral", "storageClassName": "fast"},
            "topologySpread": {"whenUnsatisfiable": "DoNotSchedule"},
            "nodeSelector": {"disk": "nvme"},
            "tolerations": [{"key": "sluice", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "podDisruptionBudget": {"maxUnavailable": "50%"},
            "extraEnv": [{"name": "SLUICE_LOG", "value": "debug"}],
        },
        "coordinator": {"persistence": {"storageClassName": "fast", "size": "200Gi", "annotations": {"a": "b"}}},
        "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"], "annotations": {"a": "b"}},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "serviceAccount": {"annotations": {"role": "lake"}},
        "image": {"tag": "0.1.1", "pullSecrets": [{"name": "registry"}]},
        "settings": '[limits]\nconnections_max = 500\n\n[auth]\nscram_iterations = 10000\n',
        "auth": {"rules": [{"user": "robot", "connection": "hostssl", "method": "cert"}, {"method": "scram-sha-256"}]},
    },
    "foreign account": {"serviceAccount": {"create": False, "name": "mine"}, "fullnameOverride": "lake"},
}
# What the chart must refuse.
REFUSED = {
    "a key that is not there": {"executers": {}},
    "TLS without a Secret": {"tls": {"enabled": True}},
    "KEDA without a Prometheus": {"autoscaling": {"type": "keda"}},
    "no memory limit": {"executors": {"resources": {"limits": None}}},
    "a secret in the open": {"stores": {"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}},
    "nobody to sign in": {"auth": {"rules": []}},
    "no executor at least": {"autoscaling": {"type": "hpa", "minReplicas": 0}},
}


def rendered(chart, values):
    """The resources by kind and name."""
    found = {}
    for path, text in chart.render(values, name="demo", namespace="prod").items():
        if path.endswith(".txt"):
            continue
        for document in yaml.safe_load_all(text):
            if document:
                key = (document["kind"], document["metadata"]["name"])
                expect(key not in found, path, f"{key} is there twice")
                found[key] = document
    return found


def check_schema(case, resource):
    kind, name = resource["kind"], resource["metadata"]["name"]
    where = f"{case}: {kind} {name}"
    if kind in OTHERS:
        # Of operators, whose schemas are not at hand.
        expect(resource["apiVersion"] == OTHERS[kind], where, "is of another version than was looked up")
        return
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
            expect(True, where, "")
        except Exception as error:
            message = getattr(error, "message", str(error))
            expect(False, f"{where} (Kubernetes {version})", message)


def environment(container):
    return {variable["name"]: variable for variable in container.get("env", [])}


def memory_of(variables, section, limit):
    """Bytes that the process is told, as Kubernetes fills them in."""
    text = variables[f"SLUICE_{section}__MEMORY"]["value"]
    source = variables.get("MEMORY_LIMIT_MIB")
    if "$(" in text:
        expect(list(variables).index("MEMORY_LIMIT_MIB") < list(variables).index(f"SLUICE_{section}__MEMORY"),
               section, "a variable is used before it is there")
        reference = source["valueFrom"]["resourceFieldRef"]
        expect(reference["resource"] == "limits.memory", section, "memory is not taken from the limit")
        # Rounded up, as Kubernetes does.
        units = -(-int(limit) // int(UNIT[reference["divisor"].lstrip("1")]))
        text = text.replace("$(MEMORY_LIMIT_MIB)", str(units))
    return size(text)


def check_pod(case, workload, section):
    where = f"{case}: {workload['kind']} {workload['metadata']['name']}"
    template = workload["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    [container] = pod["containers"]
    variables = environment(container)
    expect(workload["spec"]["selector"]["matchLabels"].items() <= labels.items(), where, "its selector finds other pods")
    expect("app.kubernetes.io/version" not in workload["spec"]["selector"]["matchLabels"], where,
           "its selector, which cannot change, has the version")
    # Who is not root, and can do nothing besides.
    context, own = pod["securityContext"], container["securityContext"]
    expect(context["runAsNonRoot"] is True and context["runAsUser"] == 10001, where, "may run as root")
    expect(context["seccompProfile"]["type"] == "RuntimeDefault", where, "has no seccomp profile")
    expect(own["readOnlyRootFilesystem"] is True, where, "may write to its image")
    expect(own["allowPrivilegeEscalation"] is False, where, "may gain privileges")
    expect(own["capabilities"]["drop"] == ["ALL"] and "add" not in own["capabilities"], where, "has capabilities")
    expect(pod["automountServiceAccountToken"] is False, where, "has a token")
    expect(pod["enableServiceLinks"] is False, where, "gets variables of other Services")
    # Its memory is what the limit allows, less what the kernel needs.
    limit = quantity(container["resources"]["limits"]["memory"])
    told = memory_of(variables, section, limit)
    expect(0.5 * limit < told <= 0.96 * limit, where, f"is told {told:.0f} bytes of {limit:.0f}")
    expect(f"SLUICE_{section}__THREADS" in variables, where, "takes its threads from the node")
    # Secrets come from Secrets.
    for name, variable in variables.items():
        if SECRET_NAME.search(name):
            expect("value" not in variable and "secretKeyRef" in variable["valueFrom"], where, f"{name} is in the open")
    expect(variables["SLUICE_CLUSTER__SECRET_FILE"]["value"].startswith("/etc/sluice/cluster/"), where, "no cluster secret")
    for argument in container["args"]:
        expect(not re.search(r"://[^/]*:[^/]*@", argument), where, "an argument has a password")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        expect(probe in container, where, f"has no {probe}")
    # All that it writes lies on a volume.
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    names = {volume["name"] for volume in pod["volumes"]}
    names |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    expect({mount["name"] for mount in container["volumeMounts"]} <= names, where, "mounts a volume that is not there")
    expect(("/data" if section == "SERVER" else "/work") in mounted, where, "has nowhere to write")
    expect("@sha256" in container["image"] or container["image"].rsplit(":", 1)[1] not in ("", "latest"), where,
           "has an image that changes")
    # Told to end, it has time to.
    drain = variables["SLUICE_LIMITS__DRAIN_TIMEOUT" if section == "SERVER" else "SLUICE_EXECUTOR__DRAIN_TIMEOUT"]["value"]
    grace = pod["terminationGracePeriodSeconds"]
    expect(grace >= seconds(drain) + 10, where, f"is killed {grace} s after it is told to end, and drains for {drain}")
    return container, variables, labels


def check_case(case, values, found):
    kinds = {}
    for (kind, name), resource in found.items():
        kinds.setdefault(kind, {})[name] = resource
        check_schema(case, resource)
        expect(len(name) <= 63, case, f"{name} is too long")
    [coordinator], [executors] = kinds["StatefulSet"].values(), kinds["Deployment"].values()
    server, server_variables, server_labels = check_pod(case, coordinator, "SERVER")
    executor, executor_variables, executor_labels = check_pod(case, executors, "EXECUTOR")
    where = f"{case}: executors"

    expect(coordinator["spec"]["replicas"] == 1, case, "there are several coordinators")
    expect(executors["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, case, "an update takes executors away")
    expect(server["image"] == executor["image"], case, "coordinator and executors are of two versions")
    expect(not coordinator["spec"]["selector"]["matchLabels"].items() <= executor_labels.items(), case,
           "the coordinator's selector finds executors")
    expect(server["livenessProbe"]["httpGet"]["path"] == "/healthz", case, "the coordinator's liveness is not /healthz")
    expect(server["readinessProbe"]["httpGet"]["path"] == "/readyz", case, "the coordinator's readiness is not /readyz")
    expect("tcpSocket" in executor["livenessProbe"], case, "executors have no HTTP to ask")

    # Both join each other where the Services are.
    services = kinds["Service"]
    name = next(a for a in executor["args"] if a.startswith("--coordinator=")).split("=")[1]
    expect(name == server_variables["SLUICE_CLUSTER__ADVERTISE"]["value"], case, "executors join another address than is told")
    host, port = name.split(":")
    service = services.get(host.split(".")[0], {"spec": {"ports": [], "selector": {}}})["spec"]
    expect(int(port) in [p["port"] for p in service["ports"]], case, f"no Service has {name}")
    expect(service.get("publishNotReadyAddresses"), case, "executors cannot join before the coordinator is ready")
    expect(coordinator["spec"]["serviceName"] in services, case, "the StatefulSet's Service is not there")
    for service_name, service in services.items():
        expect(service["spec"]["selector"].items() <= server_labels.items(), case, f"Service {service_name} finds nothing")
        expect(not service["spec"]["selector"].items() <= executor_labels.items(), case, f"Service {service_name} finds executors")
        named = {p["name"] for p in server["ports"]}
        for port in service["spec"]["ports"]:
            expect(port.get("targetPort", port["name"]) in named | {port["port"]}, case, f"Service {service_name} leads nowhere")
            if port["port"] == 8787:
                expect(service["spec"].get("type", "ClusterIP") == "ClusterIP", case, "the dashboard is open to the world")

    # Secrets that are named are there, or the user's.
    made = set(kinds.get("Secret", {}))
    own = {"own-cluster", "own-password", "own-catalog", "server-tls", "lake"}
    used = set()
    for workload in (coordinator, executors):
        pod = workload["spec"]["template"]["spec"]
        used |= {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        for variable in pod["containers"][0]["env"]:
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                used.add(reference["name"])
                if reference["name"] in made:
                    expect(reference["key"] in kinds["Secret"][reference["name"]]["data"], case, f"{reference} has no such key")
        used |= {s["secretRef"]["name"] for s in pod["containers"][0].get("envFrom") or []}
    expect(used <= made | own, case, f"Secrets that nobody made: {used - made - own}")
    expect(made <= used, case, f"Secrets that nobody reads: {made - used}")
    for secret in kinds.get("Secret", {}).values():
        expect(secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", case, "a Secret is lost with the release")

    # Spill, shuffle and cache files fit into the work folder together.
    [work] = [v for v in executors["spec"]["template"]["spec"]["volumes"] if v["name"] == "work"]
    room = work["emptyDir"]["sizeLimit"] if "emptyDir" in work else (
        work["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"])
    files = sum(size(executor_variables[v]["value"]) for v in
                ("SLUICE_EXECUTOR__SPILL_BYTES_MAX", "SLUICE_EXECUTOR__SHUFFLE_BYTES_MAX", "SLUICE_CACHE__DISK"))
    expect(files <= quantity(room), where, f"{files:.0f} bytes of files in a folder of {room}")
    expect("medium" not in work.get("emptyDir", {}), where, "the work folder takes the pod's memory")

    check_network(case, values, kinds, server_labels, executor_labels)
    check_scaling(case, values, kinds, executors)

    for budget in kinds.get("PodDisruptionBudget", {}).values():
        wanted = budget["spec"]["selector"]["matchLabels"]
        expect(wanted.items() <= executor_labels.items() or wanted.items() <= server_labels.items(), case,
               "a disruption budget is for no pod")
    expect("demo-sluice-executor" in kinds.get("PodDisruptionBudget", {}) or "fullnameOverride" in values, case,
           "executors have no disruption budget")
    spread = executors["spec"]["template"]["spec"]["topologySpreadConstraints"]
    expect({s["topologyKey"] for s in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}, case, "no spread")
    for constraint in spread:
        expect(constraint["labelSelector"]["matchLabels"].items() <= executor_labels.items(), case, "spreads other pods")
    for account in kinds.get("ServiceAccount", {}).values():
        expect(account["automountServiceAccountToken"] is False, case, "the account gives tokens")
    if values.get("tls"):
        arguments = " ".join(server["args"])
        expect("--tls-cert=/etc/sluice/tls/" in arguments and "--tls-key=/etc/sluice/tls/" in arguments, case, "no TLS")
        expect(server_variables["SLUICE_TLS__REQUIRE"]["value"] == "true", case, "TLS is not required")
    if values.get("locations"):
        places = json.loads(executor_variables["SLUICE_EXECUTOR__LOCATIONS"]["value"])
        expect(places == values["locations"] + [values["warehouse"]], case, f"executors see {places}")
        expect(all(place in server["args"] for place in values["locations"]), case, "the server sees other locations")
    settings = kinds["ConfigMap"][next(iter(kinds["ConfigMap"]))]["data"]["sluice.toml"]
    expect("trust" not in settings and "scram-sha-256" in settings, case, "somebody comes in without a password")
    if sys.version_info >= (3, 11):
        import tomllib
        expect("auth" in tomllib.loads(settings), case, "the settings are no TOML")


    if SLUICE:
        for workload in (coordinator, executors):
            check_binary(case, workload["spec"]["template"]["spec"]["containers"][0], settings)


def check_binary(case, container, settings):
    """The binary takes these flags, variables and settings, and makes of the memory what was meant."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in {"settings/sluice.toml": settings, "cluster/secret": "s" * 64}.items():
            Path(folder, path).parent.mkdir()
            Path(folder, path).write_text(text)
        filled = {"POD_IP": "192.0.2.1"}
        for name, variable in environment(container).items():
            reference = variable.get("valueFrom", {}).get("resourceFieldRef")
            if reference:
                kind, what = reference["resource"].split(".")
                amount = container["resources"][kind][what]
                filled[name] = "2" if what == "cpu" else str(int(quantity(amount) // UNIT[reference["divisor"].lstrip("1")]))
            elif "secretKeyRef" in variable.get("valueFrom", {}):
                filled[name] = "p123"
            elif "value" in variable:
                filled[name] = re.sub(r"\$\((\w+)\)", lambda found: filled[found[1]], str(variable["value"]))
        inside = lambda text: text.replace("/etc/sluice", folder).replace("$(POD_IP)", filled["POD_IP"])
        ran = subprocess.run(
            [SLUICE, *map(inside, container["args"]), "--print-config"],
            env={"PATH": os.environ["PATH"], **{name: inside(value) for name, value in filled.items()}},
            capture_output=True, text=True, timeout=30,
        )
        expect(ran.returncode == 0, f"{case}: sluice {container['args'][0]}", ran.stderr.strip())
        section = "server" if container["args"][0] == "serve" else "executor"
        shown = re.search(rf"^\[{section}\]$.*?^memory = \"(.*?)\"", ran.stdout, re.M | re.S)
        told = size(filled[f"SLUICE_{section.upper()}__MEMORY"])
        expect(shown and abs(size(shown[1]) - told) < 0.1 * 2**30, f"{case}: sluice {section}", f"has {shown and shown[1]} of memory")


def check_network(case, values, kinds, server_labels, executor_labels):
    policies = list(kinds.get("NetworkPolicy", {}).values())
    if values.get("networkPolicy", {}).get("enabled") is False:
        expect(not policies, case, "there is a network policy")
        return
    def policy(labels):
        [found] = [p for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
        return found["spec"]
    def sources(spec, port):
        return [rule.get("from") for rule in spec["ingress"] if {"port": port} in rule["ports"]]
    server, executor = policy(server_labels), policy(executor_labels)
    for rule in server["ingress"] + executor["ingress"]:
        expect(rule.get("ports"), case, "a rule opens every port")
    [joining] = sources(server, "cluster")
    expect([s["podSelector"]["matchLabels"].items() <= executor_labels.items() for s in joining] == [True], case,
           "others than executors reach the cluster port")
    [peers] = sources(executor, "executor")
    expect(len(peers) == 2 and all(set(peer) == {"podSelector"} for peer in peers), case, "others reach executors")
    expect(len(executor["ingress"]) == 1, case, "executors have another way in")
    monitoring = sources(server, "http")
    if values.get("networkPolicy", {}).get("monitoring"):
        expect(monitoring == [values["networkPolicy"]["monitoring"]], case, "others than Prometheus read figures")
    else:
        expect(monitoring == [], case, "somebody reads the dashboard")
    expect(len(sources(server, "postgres")) == 1, case, "clients cannot connect")


def check_scaling(case, values, kinds, executors):
    kind = values.get("autoscaling", {}).get("type", "none")
    expect(("replicas" in executors["spec"]) == (kind == "none"), case, "two decide how many executors there are")
    scalers = [*kinds.get("HorizontalPodAutoscaler", {}).values(), *kinds.get("ScaledObject", {}).values()]
    expect(len(scalers) == (kind != "none"), case, f"{len(scalers)} scalers")
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        expect((target["kind"], target["name"]) == ("Deployment", executors["metadata"]["name"]), case, "scales something else")
        least = scaler["spec"].get("minReplicas", scaler["spec"].get("minReplicaCount"))
        expect(least >= 1, case, "scales to nothing, where queries fail")


def check_chart():
    report = helm_python.lint(str(CHART), {}, strict=True)
    problems = [m for m in report["messages"] if m["severity"] >= 2]
    expect(not problems and not report["errors"], "lint", f"{problems} {report['errors']}")
    with helm_python.Chart.load(str(CHART)) as chart:
        for case, values in CASES.items():
            try:
                found = rendered(chart, values)
            except Exception as error:
                expect(False, case, f"is not rendered: {error}")
                continue
            try:
                check_case(case, values, found)
            except (KeyError, ValueError, TypeError, StopIteration, AttributeError) as error:
                expect(False, case, f"is not as expected: {error!r}")
        for case, values in REFUSED.items():
            try:
                chart.validate_schema(values)
                chart.render(values, name="demo", namespace="prod")
            except helm_python.HelmError:
                expect(True, case, "")
            else:
                expect(False, f"values with {case}", "are not refused")


def check_compose():
    where = "compose.yaml"
    document = yaml.safe_load((HERE / "compose.yaml").read_text())
    schema = importlib.resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
    validator = jsonschema.validators.validator_for(json.loads(schema.read_text()))(json.loads(schema.read_text()))
    for error in validator.iter_errors(document):
        expect(False, where, f"{'/'.join(map(str, error.path))}: {error.message}")
    services = document["services"]
    expect(sum(name.startswith("executor-") for name in services) == 3, where, "there are not three executors")
    for name, service in services.items():
        at = f"{where}: {name}"
        expect(service.get("read_only") is True, at, "may write to its image")
        expect(service.get("cap_drop") == ["ALL"], at, "keeps capabilities")
        expect("no-new-privileges:true" in service.get("security_opt", []), at, "may gain privileges")
        user = service.get("user", "0").split(":")[0]
        expect(user != "0" or name == "store-folder", at, "runs as root")
        expect("privileged" not in service and "network_mode" not in service, at, "is not confined")
        for port in service.get("ports", []):
            expect(str(port).startswith("127.0.0.1:"), at, f"port {port} is open beyond loopback")
        for variable, value in (service.get("environment") or {}).items():
            expect(not SECRET_NAME.search(variable), at, f"{variable} is in the open")
            expect(not re.search(r"://[^/]*:[^/]*@", str(value)), at, f"{variable} has a password")
        for secret in service.get("secrets", []):
            expect(secret in document["secrets"], at, f"secret {secret} is not there")
        for other, condition in (service.get("depends_on") or {}).items():
            expect(other in services, at, f"depends on {other}, which is not there")
            if condition["condition"] == "service_healthy":
                expect("healthcheck" in services.get(other, {}), at, f"waits for the health of {other}, which has no check")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            expect(source in document["volumes"] or (HERE / source).exists(), at, f"volume {source} is not there")
        is_short = service.get("restart") == "no"
        expect(service.get("restart") in ("unless-stopped", "no"), at, "is not restarted")
        expect(is_short or "healthcheck" in service, at, "has no health check")
        expect(is_short or "mem_limit" in service, at, "has no memory limit")
        section = "SERVER" if name == "coordinator" else "EXECUTOR" if name.startswith("executor-") else None
        if section:
            variables = service["environment"]
            told, limit = size(variables[f"SLUICE_{section}__MEMORY"]), size(service["mem_limit"])
            expect(told <= 0.92 * limit, at, f"is told {told:.0f} bytes of {limit:.0f}")
            drain = variables["SLUICE_LIMITS__DRAIN_TIMEOUT" if section == "SERVER" else "SLUICE_EXECUTOR__DRAIN_TIMEOUT"]
            grace = seconds(service["stop_grace_period"])
            expect(grace >= seconds(drain) + 10, at, f"is killed after {grace} s, and drains for {drain}")
            expect(variables["SLUICE_CLUSTER__SECRET_FILE"] == "/run/secrets/cluster.secret", at, "no cluster secret")
            expect("cluster.secret" in service["secrets"], at, "the cluster secret is not mounted")
        if section == "EXECUTOR":
            expect(service["command"][-1] == name == service["hostname"], at, "is told to others under another name")
            port = services["coordinator"]["environment"]["SLUICE_CLUSTER__ADVERTISE"]
            expect(variables["SLUICE_EXECUTOR__COORDINATOR"] == port, at, "joins another address than is told")
    work = [v for n, s in services.items() if n.startswith("executor-") for v in s["volumes"]]
    expect(len(work) == len(set(work)), where, "two executors share a work folder")


def check_figures():
    scrape = yaml.safe_load((HERE / "prometheus.yml").read_text())
    targets = [t for job in scrape["scrape_configs"] for static in job["static_configs"] for t in static["targets"]]
    expect("coordinator:8787" in targets, "prometheus.yml", "the coordinator is not scraped")
    board = json.loads((HERE / "grafana" / "sluice.json").read_text())
    where = "grafana/sluice.json"
    expect(board["schemaVersion"] >= 38 and board["uid"], where, "is not of Grafana 10")
    panels = [p for p in board["panels"] if p["type"] != "row"]
    expect(len({p["id"] for p in board["panels"]}) == len(board["panels"]), where, "two panels have one id")
    places = set()
    for panel in panels:
        at = f"{where}: {panel['title']}"
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        expect(grid["x"] + grid["w"] <= 24 and not cells & places, at, "lies over another")
        places |= cells
        expect(panel["targets"], at, "shows nothing")
        for target in panel["targets"]:
            expect(set(re.findall(r"sluice_\w+", target["expr"])), at, "asks for no figure of ours")
            expect(target["datasource"]["uid"] == "${datasource}", at, "is bound to one Prometheus")


def check_image():
    text = (HERE / "Dockerfile").read_text()
    last = text[text.rindex("\nFROM ") :]
    where = "Dockerfile"
    expect(re.search(r"^USER 10001:10001$", last, re.M), where, "does not end with a user that is not root")
    expect(re.search(r"^HEALTHCHECK ", last, re.M), where, "has no health check")
    expect(re.search(r'^ENTRYPOINT \["sluice"\]$', last, re.M), where, "starts something else")
    expect("cargo build --locked --profile dist" in text, where, "is not built as it should be")
    for line in re.findall(r"^(?:ENV|ARG) .*|^ {4}SLUICE_.*", text, re.M):
        expect(not SECRET_NAME.search(line.split("=")[0].split()[-1]), where, f"a secret in {line}")
    for copied in re.findall(r"^COPY (?:--chmod=\S+ )?(docker/\S+)", last, re.M):
        expect((HERE / copied.removeprefix("docker/")).exists(), where, f"{copied} is not there")


for check in (check_chart, check_compose, check_figures, check_image):
    check()
for failure in failures:
    print(f"FAILED: {failure}", file=sys.stderr)
print(f"{checks - len(failures)} passed, {len(failures)} failed")
sys.exit(bool(failures))
