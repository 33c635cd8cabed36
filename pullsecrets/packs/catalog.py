"""Every pack of this repository."""

from pullsecrets.packs.cluster_pull_secret import PACK as CLUSTER_PULL_SECRET
from pullsecrets.packs.stack_hygiene import PACK as STACK_HYGIENE
from pullsecrets.packs.tenant_delivery import PACK as TENANT_DELIVERY
from pullsecrets.packs.workload_pull_secrets import PACK as WORKLOAD_PULL_SECRETS

PACKS = (CLUSTER_PULL_SECRET, TENANT_DELIVERY, WORKLOAD_PULL_SECRETS, STACK_HYGIENE)
