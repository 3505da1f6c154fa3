package console

import (
	"crypto/x509"
	"net/http"
	"net/url"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// loginForm is what the log-in page shows.
type loginForm struct {
	Why     string
	Problem string
	Next    string
	Subject string // of the client certificate of the connection; "" = it has none
}

// whys are what the log-in page says of the end of a session.
var whys = map[string]string{
	string(endGone):  "Your session has ended. Log in again.",
	string(endMoved): "The session was used from another address or browser, so it has ended. Log in again.",
	"out":            "You are logged out.",
}

func (v *visit) showLogin() error {
	return v.loginPage(http.StatusOK, loginForm{Why: whys[v.query.Get("why")], Next: v.query.Get("next")})
}

func (v *visit) loginPage(status int, f loginForm) error {
	f.Next = ownPath(f.Next)
	if cert := peerCertificate(v.Request); cert != nil {
		f.Subject = cert.Subject.String()
	}
	p := v.page("Log in", "", f)
	p.Name = ""
	return v.show(status, "login.html", p)
}

// login starts a session. What is wrong is said on the same page, in the words of the door.
func (v *visit) login() error {
	f, err := v.form(smallForm)
	defer f.wipe()
	if err != nil {
		return err
	}
	made, token, err := v.admit(f)
	if err == nil {
		err = v.begin(made, token)
	}
	if err != nil {
		p := v.Judge(err)
		if p.RetryAfter != "" {
			v.Writer.Header().Set("Retry-After", p.RetryAfter)
		}
		if p.Text == "" {
			p.Text = "The log-in failed on the server's side. The log has the cause under request " + v.Caller.RequestID + "."
		}
		return v.loginPage(p.Status, loginForm{Problem: p.Text, Next: f.text("next")})
	}
	to := ownPath(f.text("next"))
	v.Writer.Header().Set("Location", to)
	v.Writer.WriteHeader(http.StatusSeeOther)
	return nil
}

// admit returns who the form lets in, and the token that stands for it.
func (v *visit) admit(f form) (*session, vault.Bearer, error) {
	made := &session{addr: v.Caller.Addr}
	token := vault.Bearer(trimSpace(f.fields["token"]))
	switch f.text("method") {
	case "token":
		if token == "" {
			return nil, "", core.Errorf(core.Invalid, "enter a token")
		}
	case "approle":
		return v.admitByLogin(made, vault.LoginRequest{Mount: f.text("mount"), Role: f.text("role_id"), SecretID: vault.Bearer(trimSpace(f.fields["secret_id"]))})
	case "userpass":
		password := f.fields["password"]
		if len(password) == 0 {
			return nil, "", core.Errorf(core.Invalid, "enter a name and a password")
		}
		return v.admitByLogin(made, vault.LoginRequest{Mount: f.text("mount"), Role: f.text("name"), Password: password})
	case "cert":
		cert := peerCertificate(v.Request)
		if cert == nil {
			return nil, "", core.Errorf(core.Invalid, "the browser presented no client certificate")
		}
		return v.admitByLogin(made, vault.LoginRequest{Mount: f.text("mount"), Role: f.text("role"), Certificate: cert})
	default:
		return nil, "", core.Errorf(core.Invalid, "choose how to log in")
	}
	return v.describe(made, token)
}

// admitByLogin logs in, so that the session has a token of its own.
func (v *visit) admitByLogin(made *session, r vault.LoginRequest) (*session, vault.Bearer, error) {
	l, err := v.c.vault.Login(v.ctx(), v.Caller, r)
	if err != nil {
		return nil, "", err
	}
	made.own = l.Type == vault.TokenService
	return v.describe(made, vault.Bearer(l.Token.Reveal()))
}

// describe finds out whose a token is, which also shows that it is valid.
func (v *visit) describe(made *session, token vault.Bearer) (*session, vault.Bearer, error) {
	caller := v.Caller
	caller.Bearer = token
	info, err := v.c.vault.Token(v.ctx(), caller, vault.TokenID{})
	if err != nil {
		return nil, "", err
	}
	made.name, made.role = info.Name, info.Role
	return made, token, nil
}

// begin stores the session and sets its cookie. A session that the browser had before ends.
func (v *visit) begin(made *session, token vault.Bearer) error {
	if v.session != nil {
		v.c.sessions.stop(v.id)
	}
	id, err := v.c.sessions.start(made, v.Request, token)
	if err != nil {
		return err
	}
	http.SetCookie(v.Writer, &http.Cookie{Name: cookieName, Value: id, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	return nil
}

// logout ends the session, and the token that the log-in issued.
func (v *visit) logout() error {
	if v.session.own {
		if _, err := v.c.vault.EndToken(v.ctx(), v.caller, vault.TokenID{}); err != nil {
			v.Judge(err) // it ends by itself
		}
	}
	v.c.sessions.stop(v.id)
	v.forgetCookie()
	v.Writer.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	v.redirect("/login", url.Values{"why": {"out"}})
	return nil
}

func (v *visit) forgetCookie() {
	http.SetCookie(v.Writer, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// ownPath returns a path of the console that a browser may be sent to: "/" for anything else, such as another host.
func ownPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil {
		return "/"
	}
	if r, ok := pages[u.Path]; !ok || r.get == nil || r.open {
		return "/"
	}
	return link(u.Path, pairs(u.Query())...)
}

// pages are the routes for the sake of ownPath, which is called by one of them.
var pages map[string]route

func init() { pages = routes() }

func pairs(q url.Values) (out []string) {
	for name := range q {
		out = append(out, name, q.Get(name))
	}
	return out
}

// peerCertificate is the client's certificate if its chain was verified by the listener.
func peerCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

func trimSpace(b []byte) string {
	start, end := 0, len(b)
	for start < end && (b[start] == ' ' || b[start] == '\n' || b[start] == '\r' || b[start] == '\t') {
		start++
	}
	for end > start && (b[end-1] == ' ' || b[end-1] == '\n' || b[end-1] == '\r' || b[end-1] == '\t') {
		end--
	}
	return string(b[start:end])
}
