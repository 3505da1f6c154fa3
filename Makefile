# HyperionDB Vault. "make help" lists every target.
#
# The extension is built and installed by PGXS, so PG_CONFIG and DESTDIR mean what they mean for every PostgreSQL
# extension. What needs more than one step is in scripts/, callable by hand as well.

# The one place of the version; "make lint" checks control/, META.json and CHANGELOG.md against it.
EXTVERSION = 0.2.0

.DEFAULT_GOAL := help
PG_CONFIG ?= pg_config
# sudo drops /usr/local/go/bin from PATH on many machines.
GO ?= $(firstword $(shell command -v go) $(wildcard /usr/local/go/bin/go) go)
DEV_DIR ?= .dev
FUZZTIME ?= 10s
MINUTES ?= 30
SEED ?=
BINDIR ?= /usr/local/bin
export PG_CONFIG GO DEV_DIR MAJORS DEB_VERSION

API = bin/hyperion-vault-api
CLI = bin/hyperion-vault
GOLIB = hyperion_vault_go.so

# The order in which the parts make the schema script.
SQL_PARTS = sql/head.sql sql/types.sql sql/rowcheck.sql sql/secrettable.sql sql/grantee.sql sql/accesstable.sql \
	sql/rotationtable.sql sql/audittable.sql sql/rowsecurity.sql sql/access.sql sql/missing.sql sql/decide.sql \
	sql/creation.sql sql/settings.sql sql/change.sql sql/sealed.sql sql/protocol.sql sql/versions.sql sql/deleted.sql \
	sql/audit.sql sql/auditlook.sql sql/auditprune.sql sql/rotation.sql sql/role.sql sql/rolebind.sql sql/roledrift.sql \
	sql/rolesession.sql sql/supervisor.sql sql/status.sql sql/token.sql sql/restdecide.sql sql/rest.sql \
	sql/tokenrest.sql sql/login.sql sql/secretid.sql sql/wrapped.sql sql/loginpeople.sql sql/leasetable.sql \
	sql/lease.sql sql/leaseend.sql sql/leaserest.sql sql/protocol1.sql sql/service.sql sql/rewrap.sql sql/plaintext.sql \
	sql/tail.sql
SQL_SCRIPT = sql/hyperion_vault--$(EXTVERSION).sql

EXTENSION = control/hyperion_vault
# The newest released version, whose schema script is frozen: this one upgrades from it. Empty before the first release.
PREVIOUS := $(shell awk '!/^\#/ && NF { v = $$1 } END { print v }' packaging/releases 2>/dev/null)
ifneq ($(PREVIOUS),)
UPGRADE_SCRIPT = sql/hyperion_vault--$(PREVIOUS)--$(EXTVERSION).sql
UPGRADE_PARTS = sql/frozen/hyperion_vault--$(PREVIOUS).sql $(SQL_SCRIPT) sql/upgrade/tail.sql $(sort $(wildcard sql/upgrade/$(PREVIOUS)--$(EXTVERSION)/*.sql))
endif

MODULE_big = hyperion_vault
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard extension/shim/*.c)))
DATA = $(wildcard sql/frozen/*.sql)
DATA_built = $(SQL_SCRIPT) $(UPGRADE_SCRIPT)
EXTRA_CLEAN = $(GOLIB) hyperion_vault_go.h bin extension/shim/.pg_config
# Ours starts an API process beside the test (scripts/installcheck.sh).
NO_INSTALLCHECK = 1
# cgo has no bitcode, and half an extension inlined by LLVM is worth nothing.
override with_llvm = no
# PostgreSQL's headers are not clean under -Wextra; "make lint" adds -Werror.
C_WARNINGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
PG_CFLAGS = $(C_WARNINGS)
# libcrypto, where the server has it: values are sealed and opened with it (extension/shim/cipher.c).
SHLIB_LINK = $(filter -lcrypto,$(LIBS))

# Both: Debian's client package has the file of PGXS, and no headers.
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
PG_HEADERS := $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h
ifeq (2,$(words $(wildcard $(PGXS) $(PG_HEADERS))))
include $(PGXS)
BUILT_FOR = extension/shim/.pg_config
ifneq ($(file < $(BUILT_FOR)),$(VERSION) $(pkglibdir))
$(shell echo '$(VERSION) $(pkglibdir)' 2>/dev/null > $(BUILT_FOR))
endif
else
# Everything that needs PostgreSQL's build files says so; the scripts install them and call make again.
all install uninstall lint-c: need-pgxs
.PHONY: need-pgxs
need-pgxs:
	@echo "error: no PostgreSQL build files found by '$(PG_CONFIG)' (--pgxs, --includedir-server)." >&2
	@echo "hint: install the Debian package postgresql-server-dev-NN (NN is your server's major version)," >&2
	@echo "hint: or run make deps, or pass PG_CONFIG=/path/to/pg_config." >&2
	@exit 1
clean:
	rm -rf $(OBJS) $(SQL_SCRIPT) $(MODULE_big).so $(EXTRA_CLEAN)
endif

##@ Build

.PHONY: help all build install uninstall install-golib install-api install-cli
help: ## list every target (this text)
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\nVariables: PG_CONFIG DESTDIR GO DEV_DIR API_PORT PG_PORT VAULT_* AWS_* FUZZTIME MINUTES SEED BINDIR MAJORS\n'

build: all $(API) $(CLI) ## build the extension (C shim, Go library, SQL script), hyperion-vault-api and hyperion-vault

all: $(GOLIB)

# Objects know the server they were built for: another PG_CONFIG builds them again.
$(OBJS): $(wildcard extension/shim/*.h) $(BUILT_FOR)

$(SQL_SCRIPT): $(SQL_PARTS)
	cat $(SQL_PARTS) > $@.tmp && mv $@.tmp $@

ifneq ($(PREVIOUS),)
$(UPGRADE_SCRIPT): $(UPGRADE_PARTS) $(wildcard extension/upgradescript/*.go)
	$(GO) run ./extension/upgradescript $(UPGRADE_PARTS) > $@.tmp && mv $@.tmp $@
endif

# asyncpreemptoff: Go's preemption signal is the signal PostgreSQL's latches are woken by (docs/decisions/0004).
# The header that cgo generates is not used: the shim declares what it calls.
GOLIB_LDFLAGS = -s -w -X runtime.godebugDefault=asyncpreemptoff=1
# Directories count as well: a removed file changes only them.
$(GOLIB): $(shell find core extension/golib -type d -o -name '*.go' ! -name '*_test.go' 2>/dev/null) go.mod go.sum Makefile
	$(GO) build -buildvcs=false -buildmode=c-shared -trimpath -ldflags "$(GOLIB_LDFLAGS)" -o $@ ./extension/golib
	@rm -f hyperion_vault_go.h

# Without cgo the program is one static file that runs on every distribution. The tag leaves out gin's msgpack, which nothing
# here uses and which templates make the linker keep whole: 5 MB of 40.
API_TAGS = nomsgpack
$(API): $(shell find api core docs ! -name '*_test.go' 2>/dev/null) go.mod go.sum Makefile
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -tags "$(API_TAGS)" -ldflags "-s -w -X main.version=$(EXTVERSION)" -o $@ ./api/cmd/hyperion-vault-api

$(CLI): $(shell find client core api/cmd/migration api/migrate api/progress api/jsonscan ! -name '*_test.go' 2>/dev/null) go.mod go.sum Makefile
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$(EXTVERSION)" -o $@ ./client/cmd/hyperion-vault

install: install-golib ## install the extension into PostgreSQL's directories (PG_CONFIG, DESTDIR); not the API and the command
install-golib: all
	$(MKDIR_P) '$(DESTDIR)$(pkglibdir)'
	$(INSTALL_SHLIB) $(GOLIB) '$(DESTDIR)$(pkglibdir)/$(GOLIB)'

install-api: $(API) ## install hyperion-vault-api into BINDIR (DESTDIR)
	install -D -m 755 $(API) '$(DESTDIR)$(BINDIR)/hyperion-vault-api'

install-cli: $(CLI) ## install hyperion-vault into BINDIR (DESTDIR)
	install -D -m 755 $(CLI) '$(DESTDIR)$(BINDIR)/hyperion-vault'

uninstall: uninstall-golib ## remove what install put into PostgreSQL's directories
.PHONY: uninstall-golib
uninstall-golib:
	rm -f '$(DESTDIR)$(pkglibdir)/$(GOLIB)'

clean: ## remove what build made (never the data of "make up")

##@ Try it

.PHONY: deps demo up down purge
deps: ## install what is missing to build and run (Debian, Ubuntu; sudo when not root)
	@scripts/deps.sh

demo: ## from nothing to secrets created, read and verified by REST and SQL, on a private server
	@scripts/demo.sh

up: ## start a private server and the API under DEV_DIR; prints address, token and psql line
	@scripts/up.sh

down: ## stop both; the data stays
	@scripts/down.sh

purge: ## stop both and delete the private server's data, keys and tokens
	@scripts/down.sh --purge

##@ Package

.PHONY: images
images: ## Docker images of a node, of the API and of etcd (BASE_IMAGE, APT_OPTIONS)
	@scripts/images.sh

.PHONY: deb apt-repo test-packages test-packages-all
deb: ## Debian packages under DEV_DIR/deb, for each PostgreSQL of MAJORS (default: those whose headers are here)
	@packaging/deb.sh

apt-repo: ## a signed apt repository of them under DEV_DIR/apt-repo, with install.sh (APT_SIGNING_KEY_FILE)
	@packaging/apt-repo.sh

test-packages: ## the packages in a fresh Debian root with systemd: install, use, upgrade, remove, purge (root, debootstrap; 5 minutes)
	@packaging/test-refusals.sh
	@packaging/test-make.sh
	@packaging/test-source.sh
	@MAJORS="$${MAJORS:-15}" packaging/test.sh

test-packages-all: ## the same for PostgreSQL 15, 17 and 18, with lintian, after building all twice from nothing
	@packaging/test-all.sh

##@ Check

.PHONY: test test-unit test-integration test-cluster test-cluster-more test-pg17 test-pg18 test-pg19 test-pgupgrade storm soak installcheck lint lint-c bench bench-guard bench-record bench-scale fuzz freeze print-version print-sql-parts print-scripts
test: ## everything one machine can run: build, install, lint, Go tests, SQL regression tests
	@scripts/test.sh

test-unit: ## Go tests of core and api under the race detector
	$(GO) test -race ./core/... ./api/... ./bench

test-integration: ## every Go test; PostgreSQL is required, a missing one fails instead of skipping
	HV_REQUIRE_PG=1 $(GO) test ./...

test-cluster: ## three nodes under Patroni, the faults under load, every history checked (5 minutes)
	@scripts/cluster.sh test

test-cluster-more: ## the rarer faults, each once: frozen and dead nodes, a dead standby, a Patroni that hangs
	@scripts/cluster.sh more

.PHONY: e2e
e2e: ## three nodes in containers: an upgrade under load, and every fault (Docker; HV_E2E_RUN, HV_E2E_OLD)
	@scripts/e2e.sh

test-pg17: ## the extension on PostgreSQL 17, in a chroot of the Debian suite that has it (root, debootstrap, 2 GB)
	@scripts/othermajor.sh 17

test-pg18: ## the same on PostgreSQL 18
	@scripts/othermajor.sh 18

test-pg19: ## the same on the release candidate of PostgreSQL 19, from Debian's "experimental"
	@scripts/othermajor.sh 19

test-pgupgrade: ## pg_upgrade from 15 over 17 to 18 with secrets, in the chroot of 18
	@scripts/pgupgrade.sh

storm: ## 200 secrets that rotate every 1 to 3 s, three API processes that are killed all the time, for a minute
	HV_REQUIRE_PG=1 $(GO) test -count=1 -v -run '^TestStorm$$' ./api/rotator -storm 60s

soak: ## every fault at random for MINUTES (30); SEED repeats the faults of a run
	@MINUTES=$(MINUTES) SEED=$(SEED) scripts/cluster.sh soak

installcheck: ## SQL regression tests against the server of PGHOST, PGPORT, PGUSER (superuser)
	@scripts/installcheck.sh

lint: ## gofmt, vet, staticcheck, govulncheck, C with -Werror, shellcheck, versions
	@scripts/lint.sh

lint-c:
	@set -e; for c in $(OBJS:.o=.c); do $(CC) $(CFLAGS) -Werror $(CPPFLAGS) -c -o /dev/null $$c; done

# CPU time needs no quiet machine. The pattern takes the rows with 32 connections, and their floors.
GUARDED_ROWS = -anyway -runs 3 -seconds 2 -rows 32.conns$$|^SQL|^REST.(create|update)$$|^floor:.SQL

bench: ## REST and SQL rates with p50 and p99 beside their floors (BENCH_FLAGS="-seconds 5 -conns 32")
	@scripts/bench.sh

bench-guard: ## warns when an operation takes 15 % more CPU, beside its floor, than bench/recorded.json says
	@BENCH_FLAGS="$(GUARDED_ROWS) -guard bench/recorded.json" scripts/bench.sh

bench-record: ## writes bench/recorded.json, to be committed with a change that has a reason to cost more or that costs less
	@BENCH_FLAGS="$(GUARDED_ROWS) -record bench/recorded.json" scripts/bench.sh

bench-scale: ## the same operations in a vault of 1,000 secrets and in one of SECRETS (1000000), in turn
	@scripts/bench-scale.sh

fuzz: ## every fuzz target for FUZZTIME each
	@scripts/fuzz.sh $(FUZZTIME)

freeze: $(SQL_SCRIPT) $(UPGRADE_SCRIPT) ## release this version's schema: freeze its script, go on as NEXT (NEXT=0.2.0)
	@scripts/freeze.sh $(NEXT)

print-version:
	@echo $(EXTVERSION)
print-sql-parts:
	@echo $(SQL_PARTS)
print-scripts:
	@echo $(DATA) $(DATA_built)
