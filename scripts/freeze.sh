#!/usr/bin/env bash
# Freezes the schema script of the version that the Makefile names, notes the commit it was released from, and makes the
# tree the next version: Makefile, control file, META.json, CHANGELOG, and an empty upgrade part. Commit what it leaves.
# shellcheck source=lib/base.sh
. "$(dirname "$0")/lib/base.sh"

cd "$ROOT"
version=$(make -s print-version)
next=${1:-}
[[ $next =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "want the next version" "make freeze NEXT=0.2.0"
if [ "$version" = "$next" ] || [ "$(printf '%s\n%s\n' "$version" "$next" | sort -V | tail -n 1)" != "$next" ]; then
	die "$next is not newer than $version"
fi
[ -z "$(git status --porcelain)" ] || die "the working tree has changes" "commit them first: a release is a commit"
grep -q "^## $version (unreleased)$" CHANGELOG.md || die "CHANGELOG.md has no line '## $version (unreleased)'"

mkdir -p sql/frozen
for script in $(make -s print-scripts); do
	case $script in
	sql/frozen/*) ;;
	*) cp "$script" sql/frozen/ ;;
	esac
done
echo "$version $(git rev-parse HEAD)" >>packaging/releases
mkdir -p "sql/upgrade/$version--$next"
cat >"sql/upgrade/$version--$next/1-changes.sql" <<EOF
-- $version to $next: what changes tables, types and policies, and the functions that go. The rest is generated.
EOF
sed -i "s/^EXTVERSION = .*/EXTVERSION = $next/" Makefile
sed -i "s/^default_version = .*/default_version = '$next'/" control/hyperion_vault.control
sed -i "s/\"version\": \"$version\"/\"version\": \"$next\"/; s/hyperion_vault--$version\.sql/hyperion_vault--$next.sql/" META.json
sed -i "s/^## $version (unreleased)$/## $next (unreleased)\n\n## $version ($(date -u +%F))/" CHANGELOG.md
{
	printf 'hyperion-vault (%s-1) unstable; urgency=medium\n\n  * Version %s: see CHANGELOG.md.\n\n' "$next" "$next"
	printf '%s  %s\n\n' "$(sed -n '/^ -- /{s/  .*//p;q}' debian/changelog)" "$(date -uR)"
	cat debian/changelog
} >debian/changelog.new && mv debian/changelog.new debian/changelog
say "$version is frozen; the tree is $next now. Read 'git diff', and commit it."
