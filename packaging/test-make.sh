#!/usr/bin/env bash
# Runs "Make the repository yourself" of docs/INSTALL.md as it is printed, in a copy of the tree and with a throw-away
# key. The packages lie in DEB_DIR afterwards, for the tests that follow; the repository is checked and removed.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
# shellcheck source=../scripts/lib/chroot.sh
. "$ROOT/scripts/lib/chroot.sh"
unset "${!APT_@}" MAJORS
export DEV_DIR DEB_DIR=${DEB_DIR:-$DEV_DIR/deb}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export APT_REPO_DIR=$work/repo

script=$(awk '/^##/ { here = $0 == "### Make the repository yourself" } /^```$/ { inside = 0 } inside && n == 1
	here && /^```sh$/ { n++; inside = 1 }' "$ROOT/docs/INSTALL.md")
[[ $script == *"make deb"*"make apt-repo"* ]] || die "docs/INSTALL.md does not say how to make the repository"
copy_tree "$work/tree"
"$ROOT/packaging/throwaway-key.sh" >"$work/tree/key.asc"
find_go
mkdir -p "$DEB_DIR"
quietly "docs/INSTALL.md, Make the repository yourself" env -C "$work/tree" bash -euxo pipefail -c "$script"

cd "$work/repo"
grep -qx "URL=https://apt.example.org" install.sh || die "install.sh has another address"
for release in dists/*/InRelease; do
	gpgv --quiet --keyring "$PWD/hyperion-vault-keyring.gpg" "$release" 2>/dev/null || die "$release is not signed by the key"
done
say "ok    docs/INSTALL.md, the repository"
