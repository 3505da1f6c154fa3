package service

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/rotator"
	"github.com/hyperiondb/hyperion-vault/api/store"
)

// A claim on a rotation is held for one poll after it was renewed last, so that a rotation whose process has died is at
// most two polls late. Not for less than minLease, which a busy machine keeps up with, nor for more than maxLease.
const (
	minLease = 2 * time.Second
	maxLease = time.Minute
)

// newRotator returns the process's rotator. The one connection that it listens on also tells the event streams.
func (s *Service) newRotator() *rotator.Rotator {
	return rotator.New(rotator.Config{
		Door: s.door, Log: s.log, Node: s.cfg.NodeName, Poll: s.cfg.RotationPoll, Timeout: s.cfg.RequestTimeout,
		Lease: min(max(s.cfg.RotationPoll, minLease), maxLease),
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
