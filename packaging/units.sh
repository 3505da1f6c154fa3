#!/usr/bin/env bash
# Writes hyperion-vault-api.service and hyperion-vault-api@.service into a directory: packaging/units.sh DIRECTORY
set -euo pipefail
template=$(dirname "$0")/hyperion-vault-api.service.in
# unit FILE NAME DIR SUFFIX ABOUT
unit() {
	sed -e "s|@NAME@|$2|g; s|@DIR@|$3|g; s|@SUFFIX@|$4|; s|@ABOUT@|$5|" "$template" >"$1"
}
unit "$1/hyperion-vault-api.service" api hyperion-vault '' 'For further ones on this node: hyperion-vault-api@.service.'
unit "$1/hyperion-vault-api@.service" %i hyperion-vault/%i ' (%i)' "The instance's name is that of its file of settings, /etc/hyperion-vault/NAME.env."
