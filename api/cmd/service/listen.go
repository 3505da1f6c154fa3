package service

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/certificate"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/core"
)

// listener is one open address of VAULT_API_LISTEN or VAULT_CONSOLE_LISTEN.
type listener struct {
	net.Listener
	tls bool
}

// String is the address with the port it really has, after https:// where it speaks TLS.
func (l listener) String() string {
	if l.tls {
		return "https://" + l.Addr().String()
	}
	return l.Addr().String()
}

// openCertificate reads the certificate, if an address needs it.
func (s *Service) openCertificate() (err error) {
	t := s.cfg.TLS
	for _, a := range slices.Concat(s.cfg.Listen, s.cfg.Console) {
		if !a.TLS {
			continue
		}
		s.cert, err = certificate.Open(certificate.Config{
			Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA, ClientOptional: t.ClientOptional, Log: s.log,
		})
		if err != nil {
			return core.Wrap(core.Invalid, err, "VAULT_API_TLS_CERT")
		}
		return nil
	}
	return nil
}

// openListeners opens every address. On error the caller closes those that are open.
func (s *Service) openListeners(ctx context.Context) (err error) {
	if s.lns, err = openAll(ctx, "VAULT_API_LISTEN", s.cfg.Listen); err != nil {
		return err
	}
	s.consoleLns, err = openAll(ctx, "VAULT_CONSOLE_LISTEN", s.cfg.Console)
	return err
}

// openAll returns those that are open, also with an error.
func openAll(ctx context.Context, setting string, all []config.Address) (open []listener, _ error) {
	for _, a := range all {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.HostPort)
		if err != nil {
			return open, core.Wrap(core.Invalid, err, "%s: cannot listen on %s", setting, a.HostPort)
		}
		open = append(open, listener{Listener: ln, tls: a.TLS})
	}
	return open, nil
}

func (s *Service) closeListeners() {
	for _, ln := range slices.Concat(s.lns, s.consoleLns) {
		_ = ln.Close() // the server does it, if it was ever started
	}
}

// tlsConfig is nil without a certificate.
func (s *Service) tlsConfig() *tls.Config {
	if s.cert == nil {
		return nil
	}
	return s.cert.TLS()
}

// warningsOf is what the status says of c.
func warningsOf(c config.Config) (all []httpapi.Warning) {
	for _, a := range c.PlainBeyondLoopback() {
		all = append(all, httpapi.Warning{
			Code: "plain_http", Detail: a.HostPort + " is reached from beyond loopback without TLS (VAULT_API_LISTEN, VAULT_API_TLS_CERT)",
		})
	}
	return all
}

// serveHTTP serves every address in the background. The channel gives the first error.
func (s *Service) serveHTTP() <-chan error {
	served := make(chan error, len(s.lns)+len(s.consoleLns))
	serve := func(server *http.Server, ln listener) {
		if ln.tls {
			served <- server.ServeTLS(ln, "", "")
		} else {
			served <- server.Serve(httpapi.AnswerProblems(ln))
		}
	}
	for _, ln := range s.lns {
		go serve(s.http, ln)
	}
	for _, ln := range s.consoleLns {
		go serve(s.consoleHTTP, ln)
	}
	return served
}

// ConsoleURL returns where the console is served, with the port it really has; "" = it is not.
func (s *Service) ConsoleURL() string {
	if len(s.consoleLns) == 0 {
		return ""
	}
	ln := s.consoleLns[0]
	if ln.tls {
		return ln.String()
	}
	return "http://" + ln.String()
}

// Addr returns the first address of the REST API, with the port it really has.
func (s *Service) Addr() string { return s.lns[0].Addr().String() }

// Addrs returns every address as VAULT_API_LISTEN writes it, with the ports they really have.
func (s *Service) Addrs() (all []string) {
	for _, ln := range s.lns {
		all = append(all, ln.String())
	}
	return all
}

func (s *Service) listening() string { return strings.Join(s.Addrs(), ",") }

// Reload reads the files of the settings that may change, and the certificate, and puts them in force. What is wrong is
// logged with its name and stays as it was. It returns the settings in force. It may be called while Run runs, by one
// goroutine at a time.
func (s *Service) Reload(environ func() []string) config.Config {
	s.notify.reloading()
	defer s.notify.ready()
	next, problems, fixed := config.Reload(environ, s.live)
	for _, p := range problems {
		s.log.Error("a reload did not change a setting: "+p.Text, "variable", p.Name)
	}
	if len(fixed) > 0 {
		s.log.Info("a reload cannot change the environment; use NAME_FILE in place of NAME",
			"variables", strings.Join(fixed, " "))
	}
	s.live = next
	s.door.SetAllow(next.AllowedIPs)
	s.door.SetAnonymous(next.AnonymousRead)
	s.door.SetQuota(next.Quota)
	s.policy.Store(policyOf(next))
	if s.cert != nil {
		if err := s.cert.Reload(); err != nil {
			s.log.Error("a reload did not change the TLS certificate", "variable", "VAULT_API_TLS_CERT", "error", err.Error())
		}
	}
	s.log.Info("reloaded", "allowed_ips", next.AllowedIPs.Len(), "trusted_proxies", len(next.TrustedProxies), "log_level", next.LogLevel.String(),
		"problems", len(problems))
	return next
}

// stopServing is what Run makes of the end of a listener.
func stopServing(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return core.Wrap(core.Unavailable, err, "the REST API stopped serving")
}
