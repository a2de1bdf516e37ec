"""A disaggregated deployment on loopback: every pod has an address of its own, and all of them the
same ports, as in a cluster. Decode pods run a sidecar before their engine.

    client -> Envoy <-> epp
                \\-> sidecar of a decode pod -> encode pods, a prefill pod, the engine beside
"""

import json
import os
import pathlib
import socket

import harness
from disagg_test import FILTERS, config
from stack import Child, Epp, Simulators, StackError

PORT_RANGE = range(20000, 32000)
ROLES = ("prefill", "prefill", "decode", "decode", "encode", "encode")
PICKERS = {"encode": "two", "prefill": "max-score-picker", "decode": "max-score-picker"}
STAGES = {role: (f"{role}-filter", "queue-scorer", PICKERS[role])
          for role in PICKERS}


def router_config(stages=("encode", "prefill", "decode"), extra_plugins=()):
    """Every request is prefilled elsewhere, and every image encoded, if there is a stage for it."""
    deciders = {"encode": "always-disagg-multimodal-decider", "prefill": "always-disagg-pd-decider"}
    chosen = ", ".join(f"{stage}: {deciders[stage]}" for stage in stages if stage in deciders)
    text = config(f"{{type: disagg-profile-handler, parameters: {{deciders: {{{chosen}}}}}}}",
                  {stage: STAGES[stage] for stage in stages},
                  (*(f"{{type: {decider}}}" for decider in deciders.values()), *FILTERS,
                   *extra_plugins))
    return text.replace("{path: endpoints.yaml}", "{path: endpoints.yaml, watchFile: true}")


def sidecar_config(address, port, parameters):
    return ("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
            "  - type: pde-sidecar\n    parameters: " + json.dumps({
                "listen": address, "port": port, "podIp": address, "modelServerHost": address,
                "modelServerPort": port + 1, **parameters}) + "\n")


class Pods(Simulators):
    """The engines: prefill and encode ones listen on the pods' port, decode ones on the next."""

    def __init__(self, bin_dir, work_dir, roles=ROLES, options=()):
        self.roles = roles
        # A network for each process, so that tests that run side by side do not meet.
        network = f"127.{64 + (os.getpid() >> 8) % 128}.{os.getpid() % 256}"
        self.addresses = [f"{network}.{i + 1}" for i in range(len(roles))]
        self.port = self._free_port()
        self.ports = [self.port + (role == "decode") for role in roles]
        self.names = [f"sim-{i}" for i in range(len(roles))]
        arguments = [bin_dir / "epp-sim", "--model", "demo"]
        for address, port, role in zip(self.addresses, self.ports, roles):
            arguments += ["--bind", address, "--port", port, "--role", role]
        self.child = Child("epp-sim", [*arguments, *options], work_dir / "sim.log")
        self.child.wait_ready(lambda: all(self.state(i) for i in range(len(roles))))

    def _free_port(self):
        for port in range(PORT_RANGE.start + os.getpid() % 400 * 25, PORT_RANGE.stop, 2):
            try:
                for p in (port, port + 1):
                    socket.create_server(("0.0.0.0", p)).close()
                return port
            except OSError:
                continue
        raise StackError("no two neighbouring ports are free")

    def of(self, role):
        """The servers of a role, by number."""
        return [i for i, r in enumerate(self.roles) if r == role]

    def write_endpoints(self, path, servers=None):
        lines = ["endpoints:"]
        lines += [f"  - {{name: {self.names[i]}, address: {self.addresses[i]}, port: {self.port}, "
                  f"labels: {{llm-d.ai/role: {self.roles[i]}}}}}"
                  for i in (range(len(self.roles)) if servers is None else servers)]
        new = pathlib.Path(path).with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        os.replace(new, path)

    def total(self, name, role=None):
        """The sum of a number of /sim/state, over the engines of a role."""
        states = [self.state(i) for i in (self.of(role) if role else range(len(self.roles)))]
        return sum(s["transfers"].get(name, s.get(name)) for s in states)

    def clear_faults(self):
        # A dead one cannot be asked; its neighbour can bring it back.
        for i, name in enumerate(self.names):
            alive = next(j for j in range(len(self.names)) if j != i and self._answers(j))
            self.fault(alive, kind="none", server=name)

    def _answers(self, server):
        try:
            return bool(self.state(server))
        except OSError:
            return False


class PodsTest(harness.StackTest):
    """self.sims are the engines, self.sidecars the processes before the decoding ones."""

    POD_ROLES = ROLES
    STAGES = ("encode", "prefill", "decode")
    KV = "nixl"  # of the engines
    EC = "none"
    SIDECAR = {"kvConnector": "nixlv2"}
    SIDECAR_OPTIONS = ()
    ROUTER_PLUGINS = ()
    WAIT_MS = "20000"

    @classmethod
    def setUpClass(cls):
        cls.CONFIG = router_config(cls.STAGES, cls.ROUTER_PLUGINS)
        super().setUpClass()

    @classmethod
    def start_servers(cls):
        cls.sims = Pods(harness.bin_dir, cls.work, cls.POD_ROLES,
                        ("--kv-connector", cls.KV, "--ec-connector", cls.EC, "--transfer-wait-ms",
                         cls.WAIT_MS, *harness.FAST))
        cls.addClassCleanup(cls.sims.child.stop)
        cls.sims.write_endpoints(cls.endpoints_file)
        cls.sidecars = []
        for server in cls.sims.of("decode"):
            folder = cls.work / cls.sims.names[server]
            folder.mkdir()
            (folder / "config.yaml").write_text(cls.config_of(server))
            cls.sidecars.append(Epp(harness.bin_dir, folder, folder / "config.yaml",
                                    options=cls.SIDECAR_OPTIONS))
            cls.addClassCleanup(cls.sidecars[-1].child.stop)

    @classmethod
    def config_of(cls, server, **parameters):
        """The configuration of the sidecar before this decode engine."""
        return sidecar_config(cls.sims.addresses[server], cls.sims.port,
                              {**cls.parameters(server), **parameters})

    @classmethod
    def parameters(cls, server):
        del server
        return cls.SIDECAR

    def tearDown(self):
        self.sims.clear_faults()
        self.epp.wait_fresh(self.sims.names)

    def legs(self, server):
        """What the engine's log says of its requests, the last ones last."""
        return self.sims.requests(server)["requests"]
