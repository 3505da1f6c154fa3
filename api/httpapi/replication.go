package httpapi

import "github.com/hyperiondb/hyperion-vault/api/vault"

// replicationBody is where the answering node's database stands. The lag is absent while the primary does not answer.
type replicationBody struct {
	Host     string   `json:"host,omitempty"`
	Home     bool     `json:"home"`
	LSN      string   `json:"lsn,omitempty"`
	Primary  string   `json:"primary,omitempty"`
	LagBytes *int64   `json:"lag_bytes,omitempty"`
	LagSecs  *float64 `json:"lag_secs,omitempty"`
}

func replicationBodyOf(r vault.Replication) replicationBody {
	out := replicationBody{Host: r.Host, Home: r.Home, Primary: r.Primary}
	if r.LSN != 0 {
		out.LSN = r.LSN.String()
	}
	if r.Known {
		secs := r.Lag.Seconds()
		out.LagBytes, out.LagSecs = &r.LagBytes, &secs
	}
	return out
}
