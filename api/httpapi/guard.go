package httpapi

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/core"
)

// forwardingHeaders are, beside all that begin with X-Forwarded, how proxies say that a request is not their own. From
// a peer that is no trusted proxy they show that the peer's address is not the client's.
var forwardingHeaders = map[string]bool{
	"Forwarded": true, "Via": true, "X-Real-Ip": true, "X-Client-Ip": true, "X-Cluster-Client-Ip": true, "True-Client-Ip": true,
	"Cf-Connecting-Ip": true, "Cf-Connecting-Ipv6": true, "Fastly-Client-Ip": true, "X-Original-Forwarded-For": true,
	"X-Original-Host": true, "Forwarded-For": true, "X-Remote-Ip": true, "X-Remote-Addr": true, "X-Originating-Ip": true,
	"X-Azure-Clientip": true, "X-Azure-Socketip": true, "X-Appengine-User-Ip": true, "X-Envoy-External-Address": true,
	"X-Proxyuser-Ip": true, "Client-Ip": true, "Proxy-Client-Ip": true, "Wl-Proxy-Client-Ip": true,
	"Cdn-Loop": true, "X-Amz-Cf-Id": true, "Cloudfront-Viewer-Address": true, "X-Nginx-Proxy": true,
}

const (
	headerForwardedFor  = "X-Forwarded-For"
	headerForwardedHost = "X-Forwarded-Host"
)

// guard refuses what no client of an API sends: requests that a browser makes for a page of another origin, requests
// for a host that is not this one (DNS rebinding), and requests through an unnamed proxy. A probe is answered
// whatever it says of itself, since load balancers send addresses and names of their own.
func (s *server) guard(c *gin.Context) {
	path := c.FullPath()
	if path == pathHealth || path == pathReady {
		return
	}
	p := s.Policy.Load()
	err := crossOrigin(c.Request.Header)
	public := path == pathMetrics || path == pathOpenAPI
	if err == nil && !(public && p.PublicIPs == nil) {
		err = p.checkForwarding(c.Request)
	}
	if err == nil && path != pathMetrics {
		err = p.checkHosts(c.Request)
	}
	if err == nil && public && p.PublicIPs != nil && !p.PublicIPs.Allows(callerOf(c).Addr) {
		err = core.Errorf(core.Denied, "this client address is not allowed here")
	}
	if err == nil && !public {
		err = stateOf(c).tokenErr
	}
	if err == nil {
		return
	}
	if r := routeOf(c); r.action != "" {
		err = s.Vault.Refuse(callerOf(c), r.action, r.name, err)
	}
	s.fail(c, err)
}

func refusal(status int, code, format string, args ...any) error {
	return &transportError{status: status, code: code, cause: core.Errorf(core.Denied, format, args...)}
}

// crossOrigin refuses what a browser sends for a page.
func crossOrigin(h http.Header) error {
	if _, ok := h["Origin"]; ok {
		return refusal(http.StatusForbidden, "cross_origin", "the request has an Origin, as from a web page; this API serves none")
	}
	for _, site := range h["Sec-Fetch-Site"] {
		if site != "none" && site != "same-origin" {
			return refusal(http.StatusForbidden, "cross_origin", "the request's Sec-Fetch-Site is not none or same-origin, as from a web page; this API serves none")
		}
	}
	return nil
}

// checkForwarding refuses forwarding headers of a peer that is not trusted, and such a peer's that do not name the client.
func (p *Policy) checkForwarding(r *http.Request) error {
	name := forwarding(r.Header)
	if name == "" {
		return nil
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !within(ap.Addr().Unmap().WithZone(""), p.TrustedProxies) {
		return refusal(http.StatusForbidden, "untrusted_proxy",
			"the request has the header %s, as from a proxy, and its peer is not in VAULT_TRUST_PROXY: name the proxy there, or send the request without", name)
	}
	if _, ok := r.Header[headerForwardedFor]; !ok {
		return refusal(http.StatusForbidden, "untrusted_proxy",
			"the proxy sends %s without X-Forwarded-For, so the client is not known: have it set X-Forwarded-For", name)
	}
	return nil
}

// forwarding returns the first forwarding header in alphabetical order, or "".
func forwarding(h http.Header) (first string) {
	for name := range h {
		if (first == "" || name < first) && (strings.HasPrefix(name, "X-Forwarded") || forwardingHeaders[name]) {
			first = name
		}
	}
	return first
}

// checkHosts wants a known Host, and of a proxy that changes it, a known one that the client sent.
func (p *Policy) checkHosts(r *http.Request) error {
	if !p.knows(r.Host) {
		return refusal(http.StatusMisdirectedRequest, "unknown_host", "the request is for a host that is not in VAULT_ALLOWED_HOSTS")
	}
	for _, line := range r.Header[headerForwardedHost] {
		for host := range strings.SplitSeq(line, ",") {
			if !p.knows(strings.TrimSpace(host)) {
				return refusal(http.StatusMisdirectedRequest, "unknown_host", "the request was forwarded for a host that is not in VAULT_ALLOWED_HOSTS")
			}
		}
	}
	return nil
}

// knows reports whether a Host is this server's. An address always is: to have a browser send one, a page must come
// from that address, which no DNS answer can bring about.
func (p *Policy) knows(host string) bool {
	name, ok := hostOf(host)
	if !ok {
		return false
	}
	if name == "localhost" || p.Hosts[name] {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// hostOf returns the name or address of a Host header: without port, brackets and final dot, in lower case.
func hostOf(s string) (name string, ok bool) {
	if rest, bracket := strings.CutPrefix(s, "["); bracket {
		inner, port, closed := strings.Cut(rest, "]")
		a, err := netip.ParseAddr(inner)
		return inner, closed && err == nil && a.Is6() && (port == "" || isPort(port[1:]) && port[0] == ':')
	}
	name, port, hasPort := strings.Cut(s, ":")
	if hasPort && !isPort(port) {
		return "", false
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name, name != ""
}

// isPort takes an empty one too, as a URL may have it.
func isPort(s string) bool { return len(s) <= 5 && strings.Trim(s, "0123456789") == "" }
