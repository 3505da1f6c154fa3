#!/usr/bin/env bash
# Prints a new private key for signing an apt repository that only tests use. It is kept nowhere and expires in a day.
set -euo pipefail
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all 2>/dev/null || true; rm -rf "$GNUPGHOME"' EXIT
gpg --batch --quiet --passphrase '' --quick-generate-key 'HyperionDB Vault, throw-away key' ed25519 sign 1d 2>/dev/null
gpg --batch --quiet --armor --export-secret-keys
