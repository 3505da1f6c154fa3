package main

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/cmd/migration"
	"github.com/hyperiondb/hyperion-vault/api/migrate"
	"github.com/hyperiondb/hyperion-vault/api/migrate/supabase"
)

// migration is what the commands "import" and "export" need of this program.
func (p program) migration() migration.Host {
	return migration.Host{Environ: p.environ, Out: p.out, ErrOut: p.errOut, Failed: failed, ExitFailed: exitFailed, FileFlag: "output", Supabase: openSupabase}
}

func openSupabase(ctx context.Context, schema string) (migrate.Source, func(), error) {
	s, err := supabase.Open(ctx, schema)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}
