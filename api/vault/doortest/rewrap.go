package doortest

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// ListWrapped implements vault.Store.
func (s *Store) ListWrapped(_ context.Context, current string, after vault.StoredKey, limit int) ([]vault.StoredKey, error) {
	leave, err := s.enter("ListWrapped")
	defer leave()
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(s.wrapped(current), func(k vault.StoredKey) bool { return order(k, after) <= 0 })
	return all[:min(limit, len(all))], nil
}

// SampleWrapped implements vault.Store.
func (s *Store) SampleWrapped(_ context.Context, _ bool, limit int) ([]vault.StoredKey, error) {
	leave, err := s.enter("SampleWrapped")
	defer leave()
	if err != nil {
		return nil, err
	}
	all := s.wrapped("")
	return all[:min(limit, len(all))], nil
}

// CountWrapped implements vault.Store.
func (s *Store) CountWrapped(_ context.Context, current string) ([]vault.KeyCount, error) {
	leave, err := s.enter("CountWrapped")
	defer leave()
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, k := range s.wrapped(current) {
		counts[k.Key.KeyID]++
	}
	var out []vault.KeyCount
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, vault.KeyCount{KeyID: id, Versions: counts[id]})
	}
	return out, nil
}

// RewrapVersion implements vault.Store.
func (s *Store) RewrapVersion(_ context.Context, k vault.StoredKey, w vault.WrappedKey, o vault.Origin) (bool, error) {
	leave, err := s.enter("RewrapVersion")
	defer leave()
	if err != nil {
		return false, err
	}
	for _, x := range s.secrets {
		for i := range x.versions {
			v := &x.versions[i]
			if x.info.ID == k.ID && v.number == k.Version && v.sealed.Key.KeyID == k.Key.KeyID && bytes.Equal(v.sealed.Key.Wrapped, k.Key.Wrapped) {
				v.sealed.Key = w
				s.record(o, vault.ActionRewrap, string(x.info.Name), k.Version)
				return true, nil
			}
		}
	}
	return false, nil
}

// wrapped returns the keys not under current, in order.
func (s *Store) wrapped(current string) []vault.StoredKey {
	var out []vault.StoredKey
	for _, x := range s.secrets {
		for _, v := range x.versions {
			if v.sealed.Key.KeyID != current {
				out = append(out, vault.StoredKey{ID: x.info.ID, Name: x.info.Name, Version: v.number, Key: v.sealed.Key})
			}
		}
	}
	slices.SortFunc(out, order)
	return out
}

func order(a, b vault.StoredKey) int {
	return cmp.Or(bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Version, b.Version))
}
