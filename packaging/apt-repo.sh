#!/usr/bin/env bash
# Makes a signed apt repository of static files in APT_REPO_DIR (default: DEV_DIR/apt-repo) from the packages that deb.sh
# left in DEB_DIR, one suite for each directory there, and install.sh for it.
#
#   APT_SIGNING_KEY       the private key, as gpg --armor --export-secret-keys prints it, without a passphrase
#   APT_SIGNING_KEY_FILE  or the file that holds it
#   APT_REPO_URL          where the files will be served; install.sh has it built in
#   APT_VALID_DAYS        apt refuses the repository when it was last signed longer ago (default 90)
#
# Packages and indexes of an earlier run stay, so that a client that has just read the old InRelease finds its files.
# shellcheck source=../scripts/lib/base.sh
. "$(dirname "$0")/../scripts/lib/base.sh"

DEV_DIR=${DEV_DIR:-$ROOT/.dev}
case $DEV_DIR in /*) ;; *) DEV_DIR=$ROOT/$DEV_DIR ;; esac
DEB_DIR=${DEB_DIR:-$DEV_DIR/deb}
APT_REPO_DIR=${APT_REPO_DIR:-$DEV_DIR/apt-repo}
APT_REPO_URL=${APT_REPO_URL:-https://hyperiondb.github.io/hyperion-vault}
APT_VALID_DAYS=${APT_VALID_DAYS:-90}
KEYRING=hyperion-vault-keyring.gpg

for tool in apt-ftparchive gpg; do
	command -v "$tool" >/dev/null || die "$tool is missing" "apt-get install apt-utils gpg"
done
case $APT_VALID_DAYS in '' | *[!0-9]* | 0) die "APT_VALID_DAYS=$APT_VALID_DAYS: want whole days, 1 or more" "leave it unset for 90" ;; esac
if [ -z "${APT_SIGNING_KEY:-}" ] && [ -z "${APT_SIGNING_KEY_FILE:-}" ]; then
	die "there is no key to sign with: neither APT_SIGNING_KEY nor APT_SIGNING_KEY_FILE is set" \
		"to try it with a key of no value: packaging/throwaway-key.sh >key.asc; APT_SIGNING_KEY_FILE=key.asc make apt-repo"
fi
compgen -G "$DEB_DIR/*/*.deb" >/dev/null || die "no package is in $DEB_DIR" "run make deb first"

umask 022
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
chmod 700 "$GNUPGHOME"
finish() {
	gpgconf --kill all 2>/dev/null || true
	rm -rf "$GNUPGHOME"
}
trap finish EXIT

import_key() {
	if [ -n "${APT_SIGNING_KEY_FILE:-}" ]; then
		gpg --batch --quiet --import "$APT_SIGNING_KEY_FILE" 2>/dev/null
	else
		gpg --batch --quiet --import <<<"$APT_SIGNING_KEY" 2>/dev/null
	fi || die "the signing key cannot be imported" "want what gpg --armor --export-secret-keys KEY prints"
	FINGERPRINT=$(gpg --batch --with-colons --list-secret-keys | awk -F: '$1 == "fpr" { print $10; exit }')
	[ -n "$FINGERPRINT" ] || die "the signing key is a public key" "want what gpg --armor --export-secret-keys KEY prints"
}
sign() { gpg --batch --yes --quiet --pinentry-mode loopback --passphrase '' --local-user "$FINGERPRINT" "$@"; }

# hashed FILE: copies under the names of its hashes, for clients that read InRelease before or after it changes. apt
# takes the strongest hash of the Release.
hashed() {
	local kind
	for kind in 256 512; do
		install -D -m 644 "$1" "$(dirname "$1")/by-hash/SHA$kind/$("sha${kind}sum" <"$1" | cut -d ' ' -f 1)"
	done
}

# suite NAME: its packages, indexes and signed Release.
suite() {
	local name=$1 arch archs deb index
	mkdir -p "pool/$name"
	for deb in "$DEB_DIR/$name"/*.deb; do install -m 644 "$deb" "pool/$name/"; done
	archs=$(for deb in "pool/$name"/*.deb; do dpkg-deb -f "$deb" Architecture; done | sort -u | grep -v '^all$' | tr '\n' ' ')
	for arch in $archs; do
		index=dists/$name/main/binary-$arch/Packages
		mkdir -p "$(dirname "$index")"
		apt-ftparchive --arch "$arch" packages "pool/$name" >"$index"
		gzip -9kfn "$index"
		hashed "$index"
		hashed "$index.gz"
	done
	# What lies there from before must not be listed.
	rm -f "dists/$name/"{Release,InRelease,Release.gpg}
	apt-ftparchive \
		-o APT::FTPArchive::Release::Origin='HyperionDB Vault' -o APT::FTPArchive::Release::Label='HyperionDB Vault' \
		-o APT::FTPArchive::Release::Suite="$name" -o APT::FTPArchive::Release::Codename="$name" \
		-o APT::FTPArchive::Release::Architectures="${archs% }" -o APT::FTPArchive::Release::Components=main \
		-o APT::FTPArchive::Release::Acquire-By-Hash=yes -o APT::FTPArchive::Release::ValidTime=$((APT_VALID_DAYS * 86400)) \
		-o APT::FTPArchive::MD5=false -o APT::FTPArchive::SHA1=false release "dists/$name" |
		grep -v ' main/.*/by-hash/' >"$GNUPGHOME/Release"
	mv "$GNUPGHOME/Release" "dists/$name/Release"
	sign --armor --detach-sign --output "dists/$name/Release.gpg" "dists/$name/Release"
	sign --clear-sign --output "dists/$name/InRelease" "dists/$name/Release"
	ARCHS+=" $archs"
	SUITES+=" $name"
}

import_key
mkdir -p "$APT_REPO_DIR"
cd "$APT_REPO_DIR"
SUITES='' ARCHS=''
for dir in "$DEB_DIR"/*/; do
	! compgen -G "$dir*.deb" >/dev/null || suite "$(basename "$dir")"
done
gpg --batch --export "$FINGERPRINT" >"$KEYRING"
ARCHS=$(tr ' ' '\n' <<<"$ARCHS" | sort -u | xargs)
sed -e "s|@URL@|$APT_REPO_URL|; s|@KEYRING@|$KEYRING|; s|@FINGERPRINT@|$FINGERPRINT|" -e "s|@KEY_SHA256@|$(sha256sum <"$KEYRING" | cut -d ' ' -f 1)|" \
	-e "s|@SUITES@|${SUITES# }|; s|@ARCHS@|$ARCHS|" "$ROOT/packaging/install.sh.in" >install.sh
chmod 755 install.sh
touch .nojekyll # GitHub Pages serves files as they are
say "repository   $APT_REPO_DIR" "suites      $SUITES" "fingerprint  $FINGERPRINT"
