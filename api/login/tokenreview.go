package login

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	reviewVersion = "authentication.k8s.io/v1"
	reviewKind    = "TokenReview"
	reviewPath    = "/apis/" + reviewVersion + "/tokenreviews"
)

// review asks a Kubernetes API server whether a token whose signature is good is still valid: that of a deleted pod or
// service account is not.
type review struct {
	f         *fetcher
	url       string // of the API server
	tokenFile string // with the token that the API presents; "" = the client's own token
}

// tokenReview is the request, and with a status the answer. Other members of the answer do not matter.
type tokenReview struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Spec       reviewSpec   `json:"spec"`
	Status     reviewStatus `json:"status,omitzero"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences"`
}

type reviewStatus struct {
	Authenticated bool     `json:"authenticated"`
	Audiences     []string `json:"audiences"`
	User          struct {
		Username string `json:"username"`
	} `json:"user"`
}

// check returns a refusal when the cluster does not vouch for the token, for its subject and for an audience of the
// role, and Unavailable when it does not answer.
func (r *review) check(ctx context.Context, raw string, t *oidc.IDToken, role jwtRole) error {
	var audiences []string
	for _, a := range role.Audiences {
		if slices.Contains(t.Audience, a) {
			audiences = append(audiences, a)
		}
	}
	status, err := r.query(ctx, raw, audiences)
	switch {
	case err != nil:
		return err
	// A server that does not know of audiences answers none, and has then checked none.
	case !status.Authenticated, status.User.Username != t.Subject,
		!slices.ContainsFunc(status.Audiences, func(a string) bool { return slices.Contains(audiences, a) }):
		return refuse(vault.CauseLoginReview)
	}
	return nil
}

func (r *review) query(ctx context.Context, raw string, audiences []string) (status reviewStatus, err error) {
	bearer := raw
	if r.tokenFile != "" {
		if bearer, err = r.ownToken(); err != nil {
			return status, err
		}
	}
	body, err := json.Marshal(tokenReview{APIVersion: reviewVersion, Kind: reviewKind, Spec: reviewSpec{Token: raw, Audiences: audiences}})
	if err != nil {
		return status, core.Wrap(core.Internal, err, "encode a token review")
	}
	defer envelope.Wipe(body)
	u, err := url.Parse(r.url)
	if err != nil || !r.f.allowed(u) || u.Scheme == "file" {
		return status, errNotAllowed()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(r.url, "/")+reviewPath, bytes.NewReader(body))
	if err != nil {
		return status, errNotAllowed()
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	return r.send(req)
}

// send makes the request. A zero status says that the client's token, which is the bearer then, is not valid.
func (r *review) send(req *http.Request) (status reviewStatus, err error) {
	res, err := r.f.client.Do(req)
	if err != nil {
		return status, core.Wrap(core.Unavailable, err, "ask the cluster for a token review")
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(bounded(res.Body))
	defer envelope.Wipe(answer) // it repeats the token
	switch {
	case err != nil:
		return status, core.Wrap(core.Unavailable, err, "read the token review")
	case r.tokenFile == "" && res.StatusCode == http.StatusUnauthorized:
		return status, nil // it is the client's token that is not valid
	case res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK:
		return status, core.Errorf(core.Unavailable, "the cluster answers a token review with status %d", res.StatusCode)
	}
	var out tokenReview
	if err := json.Unmarshal(answer, &out); err != nil || out.APIVersion != reviewVersion || out.Kind != reviewKind {
		return status, core.Errorf(core.Unavailable, "the cluster's answer is no token review")
	}
	return out.Status, nil
}

// ownToken is read again each time: Kubernetes replaces the file before its token ends.
func (r *review) ownToken() (string, error) {
	if !r.f.local {
		return "", core.Errorf(core.Unavailable, "token_review_token_file is set, and this node reads no local file for a login method (VAULT_LOGIN_LOCAL_KEYS)")
	}
	text, err := readBounded(r.tokenFile)
	if err != nil {
		return "", err
	}
	defer envelope.Wipe(text)
	token := strings.TrimSpace(string(text))
	if !isCompact(token) {
		return "", core.Errorf(core.Unavailable, "the file of the API's own token holds no JWT")
	}
	return token, nil
}

// checkReview checks the two settings. The file is a path, since what is in a setting is shown.
func checkReview(address, file string) error {
	switch {
	case address == "" && file == "":
		return nil
	case address == "":
		return core.Errorf(core.Invalid, "token_review_token_file needs token_review_url")
	case strings.HasPrefix(address, "file:"), strings.Contains(address, "?"):
		return core.Errorf(core.Invalid, "token_review_url must be the https URL of a Kubernetes API server")
	case file != "" && (!path.IsAbs(file) || path.Clean(file) != file || len(file) > maxText):
		return core.Errorf(core.Invalid, "token_review_token_file must be an absolute path")
	}
	return checkSourceURL("token_review_url", address)
}
