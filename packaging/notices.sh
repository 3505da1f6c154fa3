#!/usr/bin/env bash
# Prints the licenses of what Go links into the packages of its arguments: the modules', and Go's own.
# Debian's packages ship it, as most of these licenses demand.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
find_go
cd "$ROOT"

# notice NAME DIRECTORY: the license files of a module.
notice() {
	local file found=''
	for file in "$2"/LICENSE* "$2"/LICENCE* "$2"/COPYING* "$2"/NOTICE*; do
		[ -f "$file" ] || continue
		found=1
		printf '==== %s: %s\n\n' "$1" "$(basename "$file")"
		cat "$file"
		printf '\n\n'
	done
	[ -n "$found" ] || die "$1 has no license file" "look into $2, and name its license by hand in packaging/notices.sh"
}

notice "Go" "$("$GO" env GOROOT)"
# shellcheck disable=SC2016 # a template of go list
"$GO" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' "$@" | LC_ALL=C sort -u |
	while read -r path version dir; do notice "$path $version" "$dir"; done
