package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/hyperiondb/hyperion-vault/client"
)

func Example() {
	cfg, err := client.FromEnviron(os.Environ())
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	v, err := c.Get(context.Background(), "db/password")
	if err != nil {
		log.Fatal(err) // as in: read db/password: the token may not do this
	}
	defer v.Wipe()
	connect(v.Bytes)
}

func ExampleClient_Fill() {
	c, _ := client.New(client.Config{Address: "https://vault.example.org:8200", Token: "hvt_…"})
	var cfg struct {
		Password []byte `vault:"db/password"`
		User     string `vault:"db/login,field=username"`
		Mail     string `vault:"mail/password,optional"`
	}
	if err := c.Fill(context.Background(), &cfg); err != nil {
		log.Fatal(err)
	}
	connect(cfg.Password)
}

// The version that was read is the one that is replaced, or nothing is.
func ExampleClient_Update() {
	c, _ := client.New(client.Config{Address: "https://vault.example.org:8200", Token: "hvt_…"})
	ctx := context.Background()
	old, err := c.Get(ctx, "db/password")
	if err != nil {
		log.Fatal(err)
	}
	defer old.Wipe()
	_, err = c.Update(ctx, "db/password", client.IfVersion(old.Version), client.Update{Value: []byte("new value")})
	if client.CodeOf(err) == client.Stale {
		fmt.Println("another client was faster")
	}
}

// The cache serves a value for up to an hour while the vault is away, and drops it when it changes.
func ExampleCache() {
	c, _ := client.New(client.Config{Address: "https://vault.example.org:8200", Token: "hvt_…"})
	cache := client.NewCache(c, client.CacheOptions{Fresh: time.Minute, SurviveFor: time.Hour})
	defer cache.Clear()
	go func() { _ = cache.Follow(context.Background(), "db/") }()
	v, err := cache.Get(context.Background(), "db/password")
	if err != nil {
		log.Fatal(err)
	}
	defer v.Wipe()
	connect(v.Bytes)
}

func ExampleClient_Watch() {
	c, _ := client.New(client.Config{Address: "https://vault.example.org:8200", Token: "hvt_…"})
	for event, err := range c.Watch(context.Background(), client.WatchOptions{Prefix: "db/"}) {
		switch {
		case err != nil:
			log.Fatal(err)
		case event.Reset:
			fmt.Println("read everything again")
		default:
			fmt.Println(event.Action, event.Name, event.Version)
		}
	}
}

func connect([]byte) {}
