package service

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/rotator"
	"github.com/hyperiondb/hyperion-vault/api/store"
)

// leaseFactor times the request timeout, 10 s by default, is how long a claim on a rotation is held: longer than any
// rotation takes, so that only a process that has died loses one.
const leaseFactor = 6

// newRotator returns the process's rotator. The one connection that it listens on also tells the event streams.
func (s *Service) newRotator() *rotator.Rotator {
	return rotator.New(rotator.Config{
		Door: s.door, Log: s.log, Node: s.cfg.NodeName, Poll: s.cfg.RotationPoll, Timeout: s.cfg.RequestTimeout,
		Lease: leaseFactor * s.cfg.RequestTimeout,
		Listen: func(ctx context.Context, heard func()) error {
			return s.db.Listen(ctx, func(channel string) {
				if channel != store.ChannelChanges {
					heard()
				}
				if channel != store.ChannelRotation {
					s.changed.Ring()
				}
			})
		},
	})
}
