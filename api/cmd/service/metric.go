package service

import (
	"github.com/hyperiondb/hyperion-vault/api/metric"
)

// sources are what /metrics is taken from.
func (s *Service) sources(requests *metric.Requests) metric.Sources {
	out := metric.Sources{
		Keys: s.keeper.Stats, Journal: s.audit.AuditState, Database: s.door.Replication, Counts: s.door.Counts, Conditions: s.door.Conditions,
		Unrecorded: s.door.Unrecorded, Logins: s.door.Logins, Requests: requests, Version: s.cfg.Version,
		Pools: func() (all []metric.Pool) {
			for _, p := range s.db.Pools() {
				all = append(all, metric.Pool(p))
			}
			return all
		},
	}
	out.OverQuota, out.Refusals = s.door.OverQuotas, s.door.Refusals
	if s.cert != nil {
		out.NotAfter = s.cert.NotAfter
	}
	return out
}
