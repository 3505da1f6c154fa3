package hvsql

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/hyperiondb/hyperion-vault/client"
)

// Secret is the credential in a secret whose value is a JSON object with username and password, as that of a pair of roles is.
func Secret(c *client.Client, name string) Source { return &secretSource{c: c, name: name} }

// PasswordOf is the credential of one user, whose password is the whole value of a secret.
func PasswordOf(c *client.Client, username, name string) Source {
	return &secretSource{c: c, name: name, username: username}
}

type secretSource struct {
	c              *client.Client
	name, username string
	announced      atomic.Int64 // the newest version that the stream of events has reported
}

func (s *secretSource) fetch(ctx context.Context, _ Credential) (Credential, error) {
	v, err := s.c.Get(ctx, s.name)
	if err != nil {
		return Credential{}, err
	}
	defer v.Wipe()
	// A node that has not replayed the change yet may have answered.
	if at := s.announced.Load(); v.Version < at {
		return Credential{}, fmt.Errorf("hvsql: the vault answers version %d of %s, and version %d is there", v.Version, s.name, at)
	}
	if s.username != "" {
		return Credential{Username: s.username, Password: string(v.Bytes)}, nil
	}
	var object struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if json.Unmarshal(v.Bytes, &object) != nil || object.Username == "" || object.Password == "" { // its error may quote the value
		return Credential{}, fmt.Errorf("hvsql: the value of %s is not a JSON object with username and password", s.name)
	}
	return Credential{Username: object.Username, Password: object.Password}, nil
}

// follow reads the stream of events. It reports a change whenever the stream opens, because one may have been missed.
func (s *secretSource) follow(ctx context.Context, changed func()) error {
	restart := func() {
		s.announced.Store(0) // a restored vault may hold older versions
		changed()
	}
	o := client.WatchOptions{Prefix: s.name, OnConnect: func(string) { restart() }}
	for e, err := range s.c.Watch(ctx, o) {
		switch {
		case err != nil:
			return err
		case e.Reset:
			restart()
		case e.Name == s.name:
			s.announced.Store(max(s.announced.Load(), e.Version))
			changed()
		}
	}
	return nil
}
