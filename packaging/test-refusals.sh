#!/usr/bin/env bash
# What deb.sh and apt-repo.sh refuse, with an error that names the cause and a hint. No package is built.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"
unset "${!APT_@}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DEB_DIR=$work/deb APT_REPO_DIR=$work/repo

# refused TEXT COMMAND...: it fails, says "error: ... TEXT" and a hint, and writes nothing.
refused() {
	local text=$1 out rc=0
	shift
	out=$("$@" 2>&1) || rc=$?
	[ "$rc" != 0 ] || die "not refused: $*"
	grep '^error: ' <<<"$out" | grep -qF -- "$text" || die "$*: said '$out', want the error '$text'"
	grep -q '^hint: ' <<<"$out" || die "$*: said no hint: $out"
	[ ! -e "$APT_REPO_DIR" ] || die "$*: made $APT_REPO_DIR"
}
deb=$ROOT/packaging/deb.sh repo=$ROOT/packaging/apt-repo.sh
refused "PostgreSQL 12 is not supported" env MAJORS=12 "$deb"
refused "PostgreSQL 99 is not supported" env MAJORS="15 99" "$deb"
refused "PostgreSQL fifteen is not supported" env MAJORS=fifteen "$deb"

refused "there is no key to sign with" "$repo"
refused "there is no key to sign with" env APT_SIGNING_KEY= "$repo"
"$ROOT/packaging/throwaway-key.sh" >"$work/key.asc"
refused "no package is in" env APT_SIGNING_KEY_FILE="$work/key.asc" "$repo"
mkdir -p "$DEB_DIR/bookworm"
touch "$DEB_DIR/bookworm/any.deb"
refused "cannot be imported" env APT_SIGNING_KEY=none "$repo"
refused "cannot be imported" env APT_SIGNING_KEY_FILE="$work/missing.asc" "$repo"
GNUPGHOME=$work/gpg
export GNUPGHOME
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --import "$work/key.asc"
gpg --batch --armor --export >"$work/public.asc"
gpgconf --kill all
refused "is a public key" env APT_SIGNING_KEY_FILE="$work/public.asc" "$repo"
refused "want whole days" env APT_SIGNING_KEY_FILE="$work/key.asc" APT_VALID_DAYS=0 "$repo"
say "ok    refusals of make deb and make apt-repo"
