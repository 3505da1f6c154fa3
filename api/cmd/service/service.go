// Package service is the process behind hyperion-vault-api: it wires the parts, runs them and closes them in order.
// It decides nothing about secrets. The command and the test harness start the same Service.
package service

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/agent"
	"github.com/hyperiondb/hyperion-vault/api/audit"
	"github.com/hyperiondb/hyperion-vault/api/certificate"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/console"
	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/login"
	"github.com/hyperiondb/hyperion-vault/api/metric"
	"github.com/hyperiondb/hyperion-vault/api/rewrap"
	"github.com/hyperiondb/hyperion-vault/api/store"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaultapi"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Service is the wired process: REST API, key agent and rotator in front of one door.
type Service struct {
	cfg     config.Config
	log     *slog.Logger
	keeper  *kms.Cache
	db      *store.DB
	audit   *audit.Journal
	ship    *audit.Shipper
	door    *vault.Vault
	rewraps *rewrap.Job
	agent   *agent.Server                // nil when switched off
	lender  atomic.Pointer[agent.Server] // the same, for what runs before it and beside it
	http    *http.Server
	lns     []listener

	console     *console.Console // nil when it is off
	consoleHTTP *http.Server     // nil when it is off
	consoleLns  []listener

	cert   *certificate.Source // nil without TLS
	policy *httpapi.LivePolicy
	live   config.Config // the settings in force, of which Reload changes some

	notify  *notifier
	beside  sync.WaitGroup // what runs beside the servers
	changed httpapi.Bell
	closing chan struct{} // closed when answers that would never end must end
}

// Open makes every part, opens the sockets and wipes the secrets of cfg, whatever comes of it. PostgreSQL need not be
// there: the Service is then not ready and keeps trying. The caller closes it. An error says which address
// or setting is at fault, and nothing is left open.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*Service, error) {
	defer cfg.Wipe()
	s := &Service{cfg: cfg, log: log, notify: newNotifier(log), closing: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		gone, cancel := context.WithCancel(context.Background())
		cancel() // nothing is in flight that deserves waiting
		_ = s.Close(gone)
		return nil, err
	}
	s.cfg.KMS.MasterKey, s.cfg.Postgres.Password = nil, nil
	s.live = s.cfg
	return s, nil
}

func (s *Service) open(ctx context.Context) (err error) {
	if s.keeper, err = openKeeper(ctx, s.cfg, s.log, s.endLeases); err != nil {
		return err
	}
	if s.db, err = store.Open(ctx, StoreConfig(s.cfg)); err != nil {
		return err
	}
	if err = s.db.FindPooler(ctx); err != nil {
		return err
	}
	if err = s.openJournal(); err != nil {
		return err
	}
	s.rewraps = rewrap.New(nil)
	if s.door, err = newDoor(s.cfg, s.db, s.keeper, s.audit, s.rewraps); err != nil {
		return err
	}
	if err = s.listen(ctx); err != nil {
		return err
	}
	return s.startAgent()
}

// StoreConfig returns what package store is told.
func StoreConfig(c config.Config) store.Config {
	return store.Config{
		Hosts: c.Postgres.Hosts, Port: int(c.Postgres.Port), User: c.Postgres.User,
		Password: string(c.Postgres.Password), Database: c.Postgres.Database, RequestTimeout: c.RequestTimeout,
		WriteTimeout: c.WriteTimeout, StayHome: c.ReadStay, LSNWait: cmp.Or(c.LSNWait, -1),
		TLS: store.TLS{
			Mode: store.Mode(c.Postgres.TLS.Mode), RootCert: c.Postgres.TLS.RootCert, Cert: c.Postgres.TLS.Cert, Key: c.Postgres.TLS.Key,
		},
	}
}

// openJournal also begins to ship what an earlier process left.
func (s *Service) openJournal() (err error) {
	s.audit, err = audit.Open(audit.Config{
		Dir: s.cfg.Audit.Dir, Always: s.cfg.Audit.SyncAlways, MaxBytes: s.cfg.Audit.MaxBytes, Log: s.log,
		Node: s.cfg.NodeName, EndLeases: s.endLeases,
	})
	if err != nil {
		return err
	}
	s.ship = audit.StartShipper(audit.ShipperConfig{
		Journal: s.audit, Connect: s.db.OpenJournal, Node: s.cfg.NodeName, Log: s.log,
	})
	return nil
}

// closeJournal refuses further records and ships what there is, as long as ctx lets it.
func (s *Service) closeJournal(ctx context.Context) error {
	if s.audit == nil {
		return nil
	}
	s.audit.Stop()
	if err := s.ship.Close(ctx); err != nil {
		s.log.Warn("audit records wait in the journal for the next start", "error", err.Error())
	}
	return s.audit.Close()
}

func newDoor(c config.Config, db *store.DB, keeper vault.Keeper, recorder vault.Recorder, rewraps vault.RewrapRunner) (*vault.Vault, error) {
	return vault.New(vault.Config{
		Store: db, Keeper: keeper, Recorder: recorder, Allow: c.AllowedIPs, AnonymousOff: !c.AnonymousRead, Node: c.NodeName,
		Database: c.Postgres.Database, MaxValueLen: c.MaxValueLen, Logins: db, Wrapping: db, Leases: db,
		Quota: c.Quota, Rewraps: rewraps,
		Verifier: login.New(login.Config{LocalKeys: c.LoginLocalKeys}),
	})
}

func (s *Service) listen(ctx context.Context) error {
	if err := s.openCertificate(); err != nil {
		return err
	}
	if err := s.openListeners(ctx); err != nil {
		return err
	}
	s.policy = httpapi.NewLivePolicy(policyOf(s.cfg))
	requests, conns := metric.NewRequests(), s.maxConns()
	handler := httpapi.New(httpapi.Config{
		Vault: s.door, Log: s.log, Policy: s.policy, Warnings: warningsOf(s.cfg), AnonymousWarning: s.anonymousWarning, RequestTimeout: s.cfg.RequestTimeout,
		MaxValueLen: s.cfg.MaxValueLen, ReadPrimary: s.cfg.ReadPrimary, WriteTimeout: s.cfg.WriteTimeout,
		Protocol: s.protocol(), Meter: requests, Metrics: metric.Handler(s.sources(requests)), Changed: &s.changed, Closing: s.closing,
	})
	s.http = httpapi.NewServer(httpapi.ServerConfig{
		Addr: s.Addr(), TLS: s.tlsConfig(), Handler: handler, Log: s.log, RequestTimeout: s.cfg.RequestTimeout,
		WriteTimeout: s.cfg.WriteTimeout, Policy: s.policy, MaxConns: conns, Known: s.door.Allows,
	})
	s.openConsole(conns)
	return nil
}

// protocol is what clients of Vault are served with, and what every client logs in by.
func (s *Service) protocol() exchange.Protocol {
	return vaultapi.New(vaultapi.Config{OnlyLogins: s.cfg.KVMount == "", Vault: s.door, Mount: s.cfg.KVMount, Database: s.cfg.Postgres.Database, MaxValueLen: s.cfg.MaxValueLen})
}

func (s *Service) startAgent() (err error) {
	if s.cfg.Agent.Socket == "" {
		s.log.Warn("VAULT_AGENT_SOCKET=off: SQL callers get no keys from this process")
		return nil
	}
	s.agent, err = agent.Start(agent.Config{
		Door: s.door, Socket: s.cfg.Agent.Socket, Peers: s.cfg.Agent.Peers, Leases: s.audit, RequestTimeout: s.cfg.RequestTimeout, Log: s.log,
	})
	s.lender.Store(s.agent)
	return err
}

// endLeases has every backend wipe the data keys that it keeps.
func (s *Service) endLeases() {
	if a := s.lender.Load(); a != nil {
		a.EndLeases()
	}
}

// policyOf returns what the transport is told of c.
func policyOf(c config.Config) httpapi.Policy {
	hosts := map[string]bool{strings.ToLower(c.NodeName): true}
	for _, a := range slices.Concat(c.Listen, c.Console) {
		if host, _, err := net.SplitHostPort(a.HostPort); err == nil && host != "" {
			hosts[strings.ToLower(host)] = true
		}
	}
	for _, name := range c.AllowedHosts {
		hosts[name] = true
	}
	return httpapi.Policy{TrustedProxies: c.TrustedProxies, Hosts: hosts, PublicIPs: c.MetricsIPs}
}

// AuditState tells how the audit journal is.
func (s *Service) AuditState() vault.AuditState { return s.audit.AuditState() }

// Run serves until ctx ends, which is no error, or a part fails. The caller then calls Close.
func (s *Service) Run(ctx context.Context) error {
	s.log.Info("listening", "listen", s.listening(), "agent_socket", s.cfg.Agent.Socket, "database", s.cfg.Postgres.Database,
		"node", s.cfg.NodeName)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // Close waits for what is beside
	s.beside.Go(func() { s.watch(ctx) })
	s.beside.Go(func() { s.newRotator().Run(ctx) })
	s.beside.Go(func() { s.warnAnonymous(ctx) })
	s.beside.Go(func() { s.reportSessions(ctx) })
	if s.cert != nil {
		s.beside.Go(func() { s.cert.Watch(ctx) })
	}
	if s.console != nil {
		s.beside.Go(func() { s.console.Run(ctx) })
		s.log.Info("the console is served", "url", s.ConsoleURL())
	}
	served := s.serveHTTP()
	s.notify.ready()
	s.notify.startWatchdog()
	var agentErr <-chan error // nil, which never gives anything, when there is no agent
	if s.agent != nil {
		agentErr = s.agent.Err()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-agentErr:
		return err
	case err := <-served:
		return stopServing(err)
	}
}

// awaitBeside waits for the rotator and the watch, which end by themselves when Run does.
func (s *Service) awaitBeside(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.beside.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closeGrace is what Close takes at most beyond its context.
const closeGrace = time.Second

// Close stops accepting, lets what is in flight finish until ctx ends, and then closes the agent, the audit, the
// database connections and the keeper, in this order: an answer under way needs all that comes after it. Every part is closed
// whatever the others say; the error names those that had to be cut off. It may be called once.
func (s *Service) Close(ctx context.Context) error {
	var problems []error
	note := func(what string, err error) {
		if err != nil {
			problems = append(problems, core.Wrap(core.Unavailable, err, "%s", what))
		}
	}
	s.notify.stopping()
	defer s.notify.close()
	close(s.closing)
	note("requests in flight were cut off", shutDown(ctx, s.http))
	note("requests of the console in flight were cut off", shutDown(ctx, s.consoleHTTP))
	s.closeListeners()
	if s.agent != nil {
		note("key requests in flight were cut off", s.agent.Close(ctx))
	}
	note("a rotation in flight was cut off", s.awaitBeside(ctx))
	if s.rewraps != nil {
		s.rewraps.Close(ctx)
	}
	note("the audit journal was not closed", s.closeJournal(ctx))
	if s.db != nil {
		note("database connections were cut off", s.db.Close(ctx))
	}
	// Nothing has a connection now, so this takes no time, but for a call of the key service: that keeps the keys.
	grace, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := s.awaitBeside(grace); err != nil {
		note("a rotation goes on", err)
	} else if s.keeper != nil {
		note("the keys' memory was not given back", s.keeper.Close())
	}
	return errors.Join(problems...)
}
