"""Every annotation, label, type, key and finalizer that this project writes or recognizes."""

CONTENT_DIGEST_ANNOTATION = "apps.platform/content-digest"
"""On each delivered Secret: digest of its content, so that delivery is proved by reading metadata only."""

STACK_ANNOTATION = "apps.platform/pulumi-stack"
"""On each object that the program creates: which stack owns it, so that no other object is ever taken over."""

STANDARD_LABELS = {"app.kubernetes.io/part-of": "pull-secrets"}

PULL_SECRET_TYPE = "kubernetes.io/dockerconfigjson"  # noqa: S105 - the type's name
PULL_SECRET_KEY = ".dockerconfigjson"  # noqa: S105 - the key's name
"""The key under which the kubelet finds logins in a Secret of that type."""
OLD_PULL_SECRET_TYPE = "kubernetes.io/dockercfg"  # noqa: S105 - the type's name
LOGIN_KEYS = {PULL_SECRET_TYPE: PULL_SECRET_KEY, OLD_PULL_SECRET_TYPE: ".dockercfg"}
"""The two types of Secrets that the kubelet takes logins from, and the key of each."""

FINALIZER_PREFIX = "externalsecrets.external-secrets.io/ces-"
"""Finalizer that ESO puts on a Namespace for a ClusterExternalSecret, and forgets there (ESO issue 6677)."""

MANAGED_LABEL = "reconcile.external-secrets.io/managed"
"""ESO looks after a Secret that carries it with the value `true`, and after no other."""

FORCE_SYNC_ANNOTATION = "external-secrets.io/force-sync"
"""A new value makes ESO refresh now; a ClusterExternalSecret hands it on from ESO 0.20.0."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation in which `kubectl apply` keeps the whole manifest: of a Secret, its content."""

SYNC_WAVE_ANNOTATION = "argocd.argoproj.io/sync-wave"

VERIFIED_PREFIX = "verified.apps.platform/"
"""Annotation on a namespace, followed by the registry: digest of what a test Pod last pulled with, and when."""

VERIFY_POD_NAME = "pull-secrets-verify"
"""The one name of every Pod that `verify` starts, so that the right to delete it names it alone."""
