#!/bin/sh
# Seeds the app registry's pull credential into Vault: the name that people know, on top of `pull-secrets seed`.
#
#   scripts/seed-app-registry-pull-secret.sh --stack prod --from-file dockerconfig.json
#   scripts/seed-app-registry-pull-secret.sh --stack prod --username platform-bot
#
# The command refuses every host but the canonical one. All its options are taken; none of them takes the credential
# itself, which comes from a file, standard input, a file descriptor or a prompt.
set -eu

registry="${PULL_SECRETS_REGISTRY:-app-registry-pull}"
project=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

# Stack files are those of this project, unless --directory or the variable says otherwise.
PULL_SECRETS_DIRECTORY="${PULL_SECRETS_DIRECTORY:-$project}"
export PULL_SECRETS_DIRECTORY

if [ -x "$project/.venv/bin/pull-secrets" ]; then
  exec "$project/.venv/bin/pull-secrets" seed "$registry" "$@"
fi
if command -v pull-secrets >/dev/null; then
  exec pull-secrets seed "$registry" "$@"
fi
echo "seed-app-registry-pull-secret.sh: pull-secrets is not installed; run \`uv sync\` in $project, or put it on PATH" >&2
exit 2
