# shellcheck shell=bash
# Build and install, doing nothing (and asking for no password) when nothing changed.

GOLIB=hyperion_vault_go.so

build_all() {
	make -C "$ROOT" -sq build >/dev/null 2>&1 || say "building (the first time takes minutes)"
	quietly "make build" make -C "$ROOT" --no-print-directory build
}

# installed_is_current: PostgreSQL's directories hold exactly what was built.
installed_is_current() {
	local lib share script
	lib=$("$PG_CONFIG" --pkglibdir)
	share=$("$PG_CONFIG" --sharedir)/extension
	for script in $(make -s -C "$ROOT" print-scripts); do
		cmp -s "$ROOT/$script" "$share/${script##*/}" || return 1
	done
	cmp -s "$ROOT/hyperion_vault.so" "$lib/hyperion_vault.so" &&
		cmp -s "$ROOT/$GOLIB" "$lib/$GOLIB" &&
		cmp -s "$ROOT/control/hyperion_vault.control" "$share/hyperion_vault.control"
}

# install_extension: make install, with sudo only where the directories are not ours to write.
install_extension() {
	installed_is_current && return
	local run=()
	[ -w "$("$PG_CONFIG" --pkglibdir)" ] || run=(as_root)
	quietly "make install" "${run[@]}" make -C "$ROOT" --no-print-directory install \
		PG_CONFIG="$PG_CONFIG" GO="$GO"
}
