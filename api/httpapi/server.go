package httpapi

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	defaultRequestTimeout = 10 * time.Second
	readHeaderTimeout     = 5 * time.Second
	idleTimeout           = 2 * time.Minute
	answerSlack           = 10 * time.Second // to write an answer, its audit record included
	maxHeaderBytes        = 32 << 10
	bodySlack             = 64 << 10 // of a request body, for what is not the value
)

// Config is what the handler is made of. Vault is required.
type Config struct {
	Vault          *vault.Vault
	Log            *slog.Logger  // nil = slog.Default()
	Policy         *LivePolicy   // nil = the zero Policy
	RequestTimeout time.Duration // of one read; 0 = 10 s
	WriteTimeout   time.Duration // of one change, which may outlast a failover; 0 = three times the RequestTimeout
	ReadPrimary    bool          // reads query the primary unless they say otherwise; false = this node
	MaxValueLen    int           // in bytes, bounds the body too; 0 = core.DefaultMaxValueLen
	Meter          Meter         // told of every request; nil = none is
	Metrics        http.Handler  // answers /metrics, to every client; nil = there is none

	Warnings []Warning // what the status says of this node's settings
	// AnonymousWarning, if set, is what the status says while callers without a token may read every secret.
	AnonymousWarning func() *Warning

	// Protocol is served beside the routes of this package; nil = none is.
	Protocol exchange.Protocol

	Changed    *Bell           // rung when a secret may have changed; nil = never
	Closing    <-chan struct{} // ends the event streams when it is closed; nil = never
	MaxStreams int             // event streams at a time, a quarter of them of one client; 0 = 64
	SlowLimit  time.Duration   // how long a body may stand still; 0 = 10 s
	WatchPoll  time.Duration   // between two looks for changes when no bell rings; 0 = 1 s
}

// Meter counts requests. It is used concurrently.
type Meter interface {
	// Begin is called when the header of a request has come.
	Begin()
	// End is called once for each Begin, when the answer is written. route is a template of the OpenAPI document or of
	// the Protocol, or "" for a path that is none; it never holds a name. method is what the client sent.
	End(method, route string, status int, took time.Duration)
}

type noMeter struct{}

func (noMeter) Begin() {}

func (noMeter) End(string, string, int, time.Duration) {}

// server is the handlers' shared state; nothing in it changes after New.
type server struct {
	Config
	maxBody int64
	streams *shares // of open event streams
	batches *shares // of batch reads, until their answer is sent
	exports *shares // of the audit, until they are sent
	repeats vault.Repeats
}

// complete fills in the defaults.
func (c *Config) complete() {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = defaultRequestTimeout
	}
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = 3 * c.RequestTimeout
	}
	if c.MaxValueLen <= 0 {
		c.MaxValueLen = core.DefaultMaxValueLen
	}
	if c.Policy == nil {
		c.Policy = &LivePolicy{}
	}
	if c.Meter == nil {
		c.Meter = noMeter{}
	}
	if c.Changed == nil {
		c.Changed = &Bell{}
	}
	if c.MaxStreams <= 0 {
		c.MaxStreams = defaultMaxStreams
	}
	if c.SlowLimit <= 0 {
		c.SlowLimit = slowLimit
	}
	if c.WatchPoll <= 0 {
		c.WatchPoll = defaultWatchPoll
	}
}

// New returns the handler of all routes. It is safe for concurrent use.
func New(c Config) http.Handler {
	c.complete()
	s := &server{
		Config: c, maxBody: int64(c.MaxValueLen)/3*4 + bodySlack, streams: newShares(c.MaxStreams),
		batches: newShares(maxBatches), exports: newShares(maxExports),
	}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	// Names are matched as they are decoded: no cleaning, no redirects, and no
	// client address by gin's own rules.
	e.RedirectTrailingSlash, e.RedirectFixedPath, e.UseRawPath = false, false, false
	e.HandleMethodNotAllowed = true
	e.ForwardedByClientIP = false
	e.ContextWithFallback = false
	s.routes(e)
	return e
}

func (s *server) routes(e *gin.Engine) {
	e.Use(s.begin, s.recover, s.guard)
	e.NoRoute(s.noRoute)
	e.NoMethod(s.noMethod)
	get := s.getter(e)
	get(pathHealth, s.health)
	get(pathReady, s.ready)
	if s.Metrics != nil {
		e.GET(pathMetrics, gin.WrapH(s.Metrics))
		e.HEAD(pathMetrics, gin.WrapH(s.Metrics))
	}
	get(pathOpenAPI, s.openAPI)
	s.secretRoutes(e)
	s.accessRoutes(e)
	s.loginRoutes(e)
	s.leaseRoutes(e)
}

// secretRoutes are about secrets, and about the node that keeps them.
func (s *server) secretRoutes(e *gin.Engine) {
	get := s.getter(e)
	e.POST("/v1/secrets", s.patient, s.handle(s.create))
	get("/v1/secrets", s.list)
	get("/v1/secrets/*name", s.read)
	e.PUT("/v1/secrets/*name", s.patient, s.handle(s.update))
	e.DELETE("/v1/secrets/*name", s.patient, s.handle(s.remove))
	e.POST("/v1/secrets/*name", s.handle(s.postToSecret))
	e.POST("/v1/batch-read", s.handle(s.batchRead))
	get("/v1/metadata/*name", s.describe)
	e.PATCH("/v1/metadata/*name", s.patient, s.handle(s.configure))
	get("/v1/versions/*name", s.versions)
	e.POST("/v1/admin/rewrap", s.handle(s.startRewrap))
	get("/v1/admin/rewrap", s.rewrapStatus)
	get("/v1/status", s.status)
	get("/v1/events", s.events)
	get("/v1/audit", s.exportAudit)
	get("/v1/deleted", s.listDeleted)
	e.POST("/v1/deleted/:id/restore", s.patient, s.handle(s.restore))
	e.DELETE("/v1/deleted/:id", s.patient, s.handle(s.destroyDeleted))
}

// accessRoutes are about who may do what.
func (s *server) accessRoutes(e *gin.Engine) {
	get := s.getter(e)
	e.POST("/v1/tokens", s.patient, s.handle(s.createToken))
	get("/v1/tokens", s.listTokens)
	get("/v1/tokens/:accessor", s.showToken)
	e.DELETE("/v1/tokens/:accessor", s.patient, s.handle(s.revokeToken))
	e.POST("/v1/tokens/:accessor/renew", s.patient, s.handle(s.renewToken))
	get("/v1/grants", s.listGrants)
	e.PUT("/v1/grants", s.patient, s.handle(s.grant))
	e.DELETE("/v1/grants", s.patient, s.handle(s.revoke))
	get("/v1/access", s.explainAccess)
	get("/v1/roles", s.listRoles)
	get("/v1/roles/*name", s.roleSessions)
	e.PATCH("/v1/roles/*name", s.patient, s.handle(s.configureRole))
	e.PUT("/v1/roles/*name", s.patient, s.handle(s.bindRole))
	e.DELETE("/v1/roles/*name", s.patient, s.handle(s.unbindRole))
	e.POST("/v1/roles/*name", s.patient, s.handle(s.repairRole))
}

// getter registers routes for GET and HEAD. HEAD does the same and is recorded the same, and net/http leaves the body out.
func (s *server) getter(e *gin.Engine) func(path string, h handler) {
	return func(path string, h handler) {
		e.GET(path, s.handle(h))
		e.HEAD(path, s.handle(h))
	}
}

// ServerConfig is what NewServer needs. Handler and Addr are required.
type ServerConfig struct {
	Addr           string      // host:port
	TLS            *tls.Config // for what is served by ServeTLS; nil = nothing is
	Handler        http.Handler
	Log            *slog.Logger  // nil = slog.Default()
	RequestTimeout time.Duration // as in Config; 0 = 10 s
	WriteTimeout   time.Duration // as in Config; 0 = three times the RequestTimeout
	Policy         *LivePolicy   // as in Config
	MaxConns       int           // connections at a time, a quarter of them from one client; 0 = 4096
	SlowLimit      time.Duration // how long a body or an answer may stand still; 0 = 10 s
	// Known reports whether an address may read. Others are strangers, who have the smaller share of the connections and
	// lose theirs first. nil = no client is a stranger.
	Known func(netip.Addr) bool
}

// NewServer returns a server whose every phase has a limit. The caller listens,
// serves and shuts it down.
func NewServer(c ServerConfig) *http.Server {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = defaultRequestTimeout
	}
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = 3 * c.RequestTimeout
	}
	if c.Policy == nil {
		c.Policy = &LivePolicy{}
	}
	if c.MaxConns <= 0 {
		c.MaxConns = defaultMaxConns
	}
	if c.SlowLimit <= 0 {
		c.SlowLimit = slowLimit
	}
	conns := newConnections(c.MaxConns, c.Policy, c.Known)
	return &http.Server{
		ConnState:         conns.changed,
		ConnContext:       conns.context,
		Addr:              c.Addr,
		TLSConfig:         c.TLS,
		Handler:           paced{c.Handler, c.SlowLimit},
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       c.SlowLimit,
		WriteTimeout:      c.RequestTimeout + c.WriteTimeout + readHeaderTimeout + answerSlack,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// OPTIONS * gets a problem as every other path that is none.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     newErrorLog(c.Log),
	}
}
