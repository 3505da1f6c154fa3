package vaultapi

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

const clusterName = "hyperion-vault"

// replicationTimeout bounds the question where the node's database stands.
const replicationTimeout = 2 * time.Second

type sealStatusBody struct {
	Type         string `json:"type"`
	Initialized  bool   `json:"initialized"`
	Sealed       bool   `json:"sealed"`
	T            int    `json:"t"`
	N            int    `json:"n"`
	Progress     int    `json:"progress"`
	Nonce        string `json:"nonce"`
	Version      string `json:"version"`
	Migration    bool   `json:"migration"`
	RecoverySeal bool   `json:"recovery_seal"`
	ClusterName  string `json:"cluster_name,omitempty"`
	ClusterID    string `json:"cluster_id,omitempty"`
	StorageType  string `json:"storage_type"`
}

// sealed reports whether reads cannot be served now, which is what clients know as sealed.
func (a *API) sealed(ctx context.Context) bool {
	for _, check := range a.vault.Ready(ctx) {
		if check.Err != nil && !check.Degraded {
			return true
		}
	}
	return false
}

func (a *API) sealStatus(r *request) error {
	sendJSON(r.Exchange, http.StatusOK, sealStatusBody{
		Type: "shamir", Initialized: true, Sealed: a.sealed(r.Request.Context()), T: 1, N: 1, Version: protocolVersion,
		ClusterName: clusterName, ClusterID: a.clusterID, StorageType: "postgresql",
	})
	return nil
}

type healthBody struct {
	Initialized                bool   `json:"initialized"`
	Sealed                     bool   `json:"sealed"`
	Standby                    bool   `json:"standby"`
	ReplicationPerformanceMode string `json:"replication_performance_mode"`
	ReplicationDRMode          string `json:"replication_dr_mode"`
	ServerTimeUTC              int64  `json:"server_time_utc"`
	Version                    string `json:"version"`
	ClusterName                string `json:"cluster_name"`
	ClusterID                  string `json:"cluster_id"`
}

// health answers GET and HEAD of sys/health, with a status that load balancers go by. A node whose database is a standby
// answers reads, so it is well unless the client gives standbys another status.
func (a *API) health(r *request) error {
	ctx := r.Request.Context()
	out := healthBody{
		Initialized: true, Sealed: a.sealed(ctx), ReplicationPerformanceMode: "disabled", ReplicationDRMode: "disabled",
		ServerTimeUTC: a.clock().Unix(), Version: protocolVersion, ClusterName: clusterName, ClusterID: a.clusterID,
	}
	out.Standby = !out.Sealed && a.onStandby(ctx)
	status, err := healthStatus(r.Request, out)
	if err != nil {
		return err
	}
	sendJSON(r.Exchange, status, out)
	return nil
}

func (a *API) onStandby(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, replicationTimeout)
	defer cancel()
	state, err := a.vault.Replication(ctx)
	return err == nil && state.InRecovery
}

func healthStatus(r *http.Request, h healthBody) (int, error) {
	codes := map[string]int{"activecode": http.StatusOK, "standbycode": http.StatusOK, "sealedcode": http.StatusServiceUnavailable}
	for name := range codes {
		text := queryValue(r, name)
		if text == "" {
			continue
		}
		code, err := strconv.Atoi(text)
		if err != nil || code < 200 || code > 599 {
			return 0, invalid("%s must be a status, 200 to 599", name)
		}
		codes[name] = code
	}
	ok, _ := strconv.ParseBool(queryValue(r, "standbyok"))
	switch {
	case h.Sealed:
		return codes["sealedcode"], nil
	case h.Standby && !ok:
		return codes["standbycode"], nil
	}
	return codes["activecode"], nil
}

func (a *API) leader(r *request) error {
	sendJSON(r.Exchange, http.StatusOK, map[string]bool{"ha_enabled": false})
	return nil
}

func (a *API) initialized(r *request) error {
	sendJSON(r.Exchange, http.StatusOK, map[string]bool{"initialized": true})
	return nil
}
