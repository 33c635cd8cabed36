"""The local control plane: etcd, Kubernetes with simulated nodes, OpenBao and External Secrets Operator."""

from local.controlplane.layout import COMPONENTS
from local.controlplane.plane import ERRORS, ComponentStatus, ControlPlane
from local.controlplane.waiting import DeadlineExceeded, NotYet, until

__all__ = ["COMPONENTS", "ERRORS", "ComponentStatus", "ControlPlane", "DeadlineExceeded", "NotYet", "until"]
