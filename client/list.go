package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ListOptions bound a list.
type ListOptions struct {
	// Prefix selects whole segments: "db" is db and every name below it, "db/" only those below it, and "" every name.
	Prefix string
	// After is the name after which the list begins.
	After string
	// PageSize is how many secrets one request asks for, 1 to 1000. Zero lets a small first page be followed by large
	// ones.
	PageSize int
}

const (
	firstPage = 100
	fullPage  = 500
)

// List returns the metadata of secrets, by name in byte order, one page after the other. A secret that cannot be shown
// comes with its name and an error, and the list goes on. Any other error ends it.
func (c *Client) List(ctx context.Context, o ListOptions) iter.Seq2[Secret, error] {
	return func(yield func(Secret, error) bool) {
		size := o.PageSize
		if size == 0 {
			size = firstPage
		}
		for after := o.After; ; {
			page, err := c.page(ctx, o.Prefix, after, size)
			if err != nil {
				yield(Secret{}, err)
				return
			}
			if !page.each(yield) || page.Next == "" {
				return
			}
			after = page.Next
			if o.PageSize == 0 {
				size = fullPage
			}
		}
	}
}

type listed struct {
	Secret
	Problem *problem `json:"problem"`
}

type page struct {
	Secrets []listed `json:"secrets"`
	Next    string   `json:"next"`
}

func (p *page) each(yield func(Secret, error) bool) bool {
	for i := range p.Secrets {
		var err error
		if s := &p.Secrets[i]; s.Problem != nil {
			err = s.Problem.error("list " + s.Name)
		}
		if !yield(p.Secrets[i].Secret, err) {
			return false
		}
	}
	return true
}

func (c *Client) page(ctx context.Context, prefix, after string, size int) (*page, error) {
	r := get("list secrets", "/v1/secrets")
	r.query.Set("limit", strconv.Itoa(size))
	setIf(r.query, "prefix", prefix)
	setIf(r.query, "after", after)
	return into[page](ctx, c, r)
}

func setIf(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// VersionInfo is the metadata of a version.
type VersionInfo struct {
	Version         int64      `json:"version"`
	EnvelopeVersion int        `json:"envelope_version,omitempty"`
	KMSKeyID        string     `json:"kms_key_id,omitempty"`
	CreatedAt       time.Time  `json:"created_at"`
	ExpiresAt       *time.Time `json:"expires_at,omitempty"`
	DeleteAt        *time.Time `json:"delete_at,omitempty"`
	DeletedAt       *time.Time `json:"deleted_at,omitempty"`
	DestroyedAt     *time.Time `json:"destroyed_at,omitempty"`
}

// Versions returns every version of a secret, newest first, also deleted and destroyed ones.
func (c *Client) Versions(ctx context.Context, name string) ([]VersionInfo, error) {
	var answer struct {
		Versions []VersionInfo `json:"versions"`
	}
	err := c.do(ctx, get("list versions of "+name, "/v1/versions/"+escapeName(name)), &answer)
	return answer.Versions, err
}

// Expire shortens the grace of a superseded version to at most graceSecs from now. 0 ends it.
func (c *Client) Expire(ctx context.Context, name string, version, graceSecs int64) (*VersionInfo, error) {
	r := change("expire "+name, http.MethodPost, "/v1/secrets/"+escapeName(name)+"/expire").again()
	return into[VersionInfo](ctx, c, r.json(map[string]int64{"version": version, "grace_secs": graceSecs}))
}

// DeleteVersions deletes versions, the current one if none is named. They can be undeleted. It returns those that it
// changed.
func (c *Client) DeleteVersions(ctx context.Context, name string, versions ...int64) ([]int64, error) {
	return c.changeVersions(ctx, name, "delete", versions)
}

// UndeleteVersions takes the deletion of versions back.
func (c *Client) UndeleteVersions(ctx context.Context, name string, versions ...int64) ([]int64, error) {
	return c.changeVersions(ctx, name, "undelete", versions)
}

// DestroyVersions drops the values of versions permanently.
func (c *Client) DestroyVersions(ctx context.Context, name string, versions ...int64) ([]int64, error) {
	return c.changeVersions(ctx, name, "destroy", versions)
}

func (c *Client) changeVersions(ctx context.Context, name, what string, versions []int64) ([]int64, error) {
	r := change(what+" versions of "+name, http.MethodPost, "/v1/secrets/"+escapeName(name)+"/"+what+"-versions")
	if len(versions) > 0 {
		r.json(map[string][]int64{"versions": versions})
	}
	var answer struct {
		Versions []int64 `json:"versions"`
	}
	err := c.do(ctx, r, &answer)
	return answer.Versions, err
}

// DeletedSecret is one that can be restored.
type DeletedSecret struct {
	ID              string    `json:"id"`
	Name            string    `json:"name"`
	Kind            string    `json:"kind"`
	ContentType     string    `json:"content_type"`
	Description     string    `json:"description"`
	CurrentVersion  int64     `json:"current_version"`
	CreatedAt       time.Time `json:"created_at"`
	DeletedAt       time.Time `json:"deleted_at"`
	RestorableUntil time.Time `json:"restorable_until"`
}

// Deleted returns the deleted secrets that can be restored, the last deleted first. limit is at most 1000; 0 is 100.
func (c *Client) Deleted(ctx context.Context, prefix string, limit int) ([]DeletedSecret, error) {
	r := get("list deleted secrets", "/v1/deleted")
	setIf(r.query, "prefix", prefix)
	if limit > 0 {
		r.query.Set("limit", strconv.Itoa(limit))
	}
	var answer struct {
		Secrets []DeletedSecret `json:"secrets"`
	}
	err := c.do(ctx, r, &answer)
	return answer.Secrets, err
}

// Restore brings a deleted secret back, by the id that Deleted has.
func (c *Client) Restore(ctx context.Context, id string) (*Secret, error) {
	return into[Secret](ctx, c, change("restore "+id, http.MethodPost, "/v1/deleted/"+url.PathEscape(id)+"/restore"))
}

// DestroyDeleted destroys what is left of a deleted secret.
func (c *Client) DestroyDeleted(ctx context.Context, id string) error {
	return c.do(ctx, change("destroy "+id, http.MethodDelete, "/v1/deleted/"+url.PathEscape(id)), nil)
}
