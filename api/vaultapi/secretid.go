package vaultapi

import (
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// createSecretID makes a secret id of an AppRole, within what its role allows.
func (a *API) createSecretID(r *request) error {
	err := r.readFields(maxBody, func(f fields) error {
		var made vault.SecretIDRequest
		var err error
		if made.TTL, err = f.duration("ttl"); err != nil {
			return err
		}
		if made.Uses, err = f.integer("num_uses"); err != nil {
			return err
		}
		if err = f.setCIDRs("cidr_list", func(all []netip.Prefix) { made.BoundCIDRs = all }); err != nil {
			return err
		}
		if bound, err := f.texts("token_bound_cidrs"); err != nil || strings.Join(bound, "") != "" {
			return invalid("token_bound_cidrs is not supported here: the role has it")
		}
		warnings := f.warnings("ttl", "num_uses", "cidr_list", "token_bound_cidrs", "metadata")
		if text, err := f.text("metadata"); err != nil || text != "" && text != "{}" {
			warnings = append(warnings, "metadata is not stored")
		}
		id, info, err := a.logins(r).CreateSecretID(r.Request.Context(), r.mount, r.rest, made)
		if err != nil {
			return err
		}
		r.setIndex(info.Position)
		r.answerData(struct {
			SecretID string `json:"secret_id"`
			Accessor string `json:"secret_id_accessor"`
			Uses     int64  `json:"secret_id_num_uses"`
			TTL      int64  `json:"secret_id_ttl"`
		}{id.Reveal(), core.SecretID(info.ID).String(), max(info.UsesLeft, 0), ttlOfSecretID(info)}, warnings...)
		return nil
	})
	return a.rejected(r, err)
}

func ttlOfSecretID(s vault.SecretIDInfo) int64 {
	if s.ExpiresAt.IsZero() {
		return 0
	}
	return int64(s.ExpiresAt.Sub(s.CreatedAt).Round(time.Second) / time.Second)
}

// listSecretIDs lists the accessors of the secret ids of a role.
func (a *API) listSecretIDs(r *request) error {
	keys := []string{}
	for after := ([16]byte{}); ; {
		page, err := a.logins(r).SecretIDs(r.Request.Context(), r.mount, r.rest, after, vault.MaxPageSize)
		if err != nil {
			return err
		}
		for _, s := range page {
			keys, after = append(keys, core.SecretID(s.ID).String()), s.ID
		}
		if len(page) < vault.MaxPageSize {
			break
		}
		if len(keys) > maxAccessors {
			return invalid("there are more than %d secret ids", maxAccessors)
		}
	}
	if len(keys) == 0 {
		return core.Errorf(core.NotFound, "nothing is there")
	}
	r.answerData(keysBody{Keys: keys})
	return nil
}

// onAccessor runs what concerns the secret id whose accessor a body has.
func (a *API) onAccessor(r *request, use func(accessor [16]byte, warnings []string) error) error {
	err := r.readFields(maxBody, func(f fields) error {
		text, err := f.text("secret_id_accessor")
		if err != nil {
			return err
		}
		id, err := vault.ParseTokenID(strings.ToLower(text))
		if err != nil {
			return invalid("secret_id_accessor must be an accessor")
		}
		return use(id, f.warnings("secret_id_accessor"))
	})
	return a.rejected(r, err)
}

func (a *API) destroySecretID(r *request) error {
	return a.onAccessor(r, func(accessor [16]byte, warnings []string) error {
		at, err := a.logins(r).DeleteSecretID(r.Request.Context(), r.mount, r.rest, accessor)
		if err != nil && core.CodeOf(err) != core.NotFound {
			return err
		}
		r.setIndex(at)
		r.answerNothing(warnings...)
		return nil
	})
}

type secretIDBody struct {
	Accessor    string            `json:"secret_id_accessor"`
	Uses        int64             `json:"secret_id_num_uses"`
	TTL         int64             `json:"secret_id_ttl"`
	CreatedTime string            `json:"creation_time"`
	Expires     string            `json:"expiration_time"`
	Updated     string            `json:"last_updated_time"`
	CIDRs       []string          `json:"cidr_list"`
	TokenCIDRs  []string          `json:"token_bound_cidrs"`
	Metadata    map[string]string `json:"metadata"`
}

// lookupSecretID answers what is known of a secret id, and not the secret id.
func (a *API) lookupSecretID(r *request) error {
	return a.onAccessor(r, func(accessor [16]byte, warnings []string) error {
		page, err := a.logins(r).SecretIDs(r.Request.Context(), r.mount, r.rest, before(accessor), 1)
		if err == nil && (len(page) == 0 || page[0].ID != accessor) {
			return failure(http.StatusNotFound, core.NotFound, "failed to find accessor entry for secret_id_accessor")
		}
		if err != nil {
			return err
		}
		s := page[0]
		r.answerData(secretIDBody{
			Accessor: core.SecretID(s.ID).String(), Uses: max(s.UsesLeft, 0), TTL: ttlOfSecretID(s), CreatedTime: timeText(s.CreatedAt),
			Expires: timeText(s.ExpiresAt), Updated: timeText(s.CreatedAt), CIDRs: append([]string{}, s.BoundCIDRs...), TokenCIDRs: []string{},
			Metadata: map[string]string{},
		}, warnings...)
		return nil
	})
}

// before returns the accessor after which a list begins with id.
func before(id [16]byte) (out [16]byte) {
	n := new(big.Int).SetBytes(id[:])
	if n.Sign() > 0 {
		n.Sub(n, big.NewInt(1)).FillBytes(out[:])
	}
	return out
}
