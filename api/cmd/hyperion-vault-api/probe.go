package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/config"
)

// probeTimeout bounds the whole of a probe. Docker's own limit in our images is 5 s.
const probeTimeout = 4 * time.Second

func newProbeCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use: "probe", Short: "Report whether the service of this machine is ready, for health checks", Args: cobra.NoArgs,
		Long: "Report whether the service that listens on VAULT_API_LISTEN is ready: exit code 0 if it is, 1 if it is not\n" +
			"or does not answer. It prints what GET /readyz answers. A plain address is preferred to one with TLS, whose\n" +
			"certificate is not verified, because it need not be valid for loopback.",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.probe(cmd.Context()) },
	}
}

// probe asks the service of this machine for /readyz.
func (p program) probe(ctx context.Context) error {
	addresses, err := config.LoadListen(p.environ)
	if err != nil {
		return err
	}
	at := addresses[0]
	for _, a := range addresses {
		if !a.TLS {
			at = a
			break
		}
	}
	at.HostPort = loopback(at.HostPort)
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String()+"/readyz", nil)
	if err != nil {
		return failed(err)
	}
	req.Host = "localhost"
	// A proxy of the environment is not for this machine's own service. Nothing secret is sent to it.
	resp, err := (&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}).Do(req)
	if err != nil {
		return failed(fmt.Errorf("the service does not answer: %w", err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return failed(fmt.Errorf("the service's answer broke off: %w", err))
	}
	if resp.StatusCode != http.StatusOK {
		return failed(fmt.Errorf("the service is not ready: %s: %s", resp.Status, body))
	}
	_, err = fmt.Fprintf(p.out, "%s\n", body)
	return failed(err)
}

// loopback replaces an address that means every address by one that can be dialed.
func loopback(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	switch ip := net.ParseIP(host); {
	case host == "" || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
