package service

import (
	"context"
	"errors"
	"net/http"

	"github.com/hyperiondb/hyperion-vault/api/console"
	"github.com/hyperiondb/hyperion-vault/api/httpapi"
)

// consoleConns is how many connections of the console are open at a time: people are fewer than programs.
const consoleConns = 256

// openConsole makes the server of the console, if an address is set for it. conns is how many connections the process can
// have open.
func (s *Service) openConsole(conns int) {
	if len(s.consoleLns) == 0 {
		return
	}
	s.console = console.New(console.Config{Vault: s.door, Log: s.log, Node: s.cfg.NodeName, MaxValueLen: s.cfg.MaxValueLen, Journal: s.AuditState})
	s.consoleHTTP = httpapi.NewServer(httpapi.ServerConfig{
		Addr: s.consoleLns[0].Addr().String(), TLS: s.tlsConfig(), Log: s.log, RequestTimeout: s.cfg.RequestTimeout,
		WriteTimeout: s.cfg.WriteTimeout, Policy: s.policy, MaxConns: min(consoleConns, conns), Known: s.door.Allows,
		Handler: httpapi.NewPages(httpapi.Config{
			Vault: s.door, Log: s.log, Policy: s.policy, RequestTimeout: s.cfg.RequestTimeout, WriteTimeout: s.cfg.WriteTimeout,
		}, s.console),
	})
}

// shutDown lets what is in flight finish until ctx ends. server may be nil.
func shutDown(ctx context.Context, server *http.Server) error {
	if server == nil {
		return nil
	}
	err := server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, server.Close())
	}
	return err
}
