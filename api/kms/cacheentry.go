package kms

import (
	"container/list"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// maxRefreshes bounds the refreshes in flight, so that an outage piles nothing up. A key that waits for its turn is
// kept like one that is asked for, because as a miss it would load the key service even more.
const maxRefreshes = 16

// entry is one kept key. Cache.mu guards it.
type entry struct {
	id         entryID
	slot       int
	at         *list.Element
	given      time.Time // when the inner keeper was last asked and gave the key
	asked      time.Time // since when the inner keeper owes an answer about it; zero = it does not
	refresh    time.Time // not before
	refreshing bool
	ask        request // what to ask; only while an answer is owed
}

// end is when e may no longer be used. It is within two TTLs of the last answer that gave the key, because a call
// without an answer found the key within the first of them.
func (k *Cache) end(e *entry) time.Time {
	if !e.asked.IsZero() {
		return e.asked.Add(k.c.TTL)
	}
	return e.given.Add(k.c.TTL)
}

// keep stores a copy of plain, which was asked for at startedAt; k.mu is held.
func (k *Cache) keep(id entryID, plain []byte, startedAt time.Time) {
	if e := k.entries[id]; e != nil {
		k.drop(e)
	}
	for len(k.entries) >= k.c.MaxKeys {
		k.drop(k.used.Back().Value.(*entry))
		k.count.evicted++
	}
	e := &entry{id: id, slot: k.slots.put(plain)}
	k.renew(e, startedAt)
	e.at = k.used.PushFront(e)
	k.entries[id] = e
}

// renew starts the TTL of e again. Keys that were fetched together are refreshed apart.
func (k *Cache) renew(e *entry, startedAt time.Time) {
	e.given, e.asked, e.ask = startedAt, time.Time{}, request{}
	e.refresh = startedAt.Add(k.c.TTL/2 - rand.N(k.c.TTL/16+1))
}

// drop wipes and forgets e; k.mu is held.
func (k *Cache) drop(e *entry) {
	k.slots.drop(e.slot)
	k.used.Remove(e.at)
	delete(k.entries, e.id)
}

// want notes that e is used with key and kmsContext, and starts a refresh when it is time; k.mu is held. The answer is
// owed from now on, even if there is no slot for the call yet. Then refreshDue finds e.
func (k *Cache) want(e *entry, key vault.WrappedKey, kmsContext map[string]string, now time.Time) {
	if !e.asked.IsZero() || e.refreshing || now.Before(e.refresh) {
		return
	}
	e.asked, e.ask = now, copyOf(key, kmsContext)
	if len(k.due) == 0 && k.refreshing < maxRefreshes && !k.closed {
		k.startRefresh(e, now)
	}
}

// isDue reports whether an answer about e is owed, and can be asked for now; k.mu is held. The sweeper wipes e at its
// end.
func (k *Cache) isDue(e *entry, now time.Time) bool {
	return !e.asked.IsZero() && !e.refreshing && !now.Before(e.refresh) && now.Before(k.end(e))
}

// refreshDue finds the entries to refresh and starts with them. They are refreshed in the order in which they expire, not
// in that of their use. After an outage not all of them can be refreshed at once, and a key in frequent use must not
// displace one that expires before. The sweeper calls refreshDue: a rarely used key might not be used again before it
// expires.
func (k *Cache) refreshDue() {
	k.mu.Lock()
	found := k.findDue(k.c.Clock())
	k.mu.Unlock()
	slices.SortFunc(found, func(a, b dueEntry) int { return a.end.Compare(b.end) }) // readers do not wait for it
	k.mu.Lock()
	defer k.mu.Unlock()
	k.due = found
	k.startRefreshes(k.c.Clock())
}

// dueEntry is an entry to refresh, and when it ends.
type dueEntry struct {
	*entry
	end time.Time
}

// findDue returns the entries to refresh; k.mu is held.
func (k *Cache) findDue(now time.Time) (found []dueEntry) {
	for _, e := range k.entries {
		if k.isDue(e, now) {
			found = append(found, dueEntry{e, k.end(e)})
		}
	}
	return found
}

// startRefreshes starts refreshes of listed entries, up to maxRefreshes; k.mu is held. It runs when a refresh ends, and
// when the list is new.
func (k *Cache) startRefreshes(now time.Time) {
	for len(k.due) > 0 && k.refreshing < maxRefreshes && !k.closed {
		e := k.due[0].entry
		k.due = k.due[1:]
		if k.entries[e.id] == e && k.isDue(e, now) {
			k.startRefresh(e, now)
		}
	}
}

func (k *Cache) startRefresh(e *entry, now time.Time) {
	e.refreshing = true
	k.refreshing++
	ask := e.ask
	k.tasks.Go(func() { k.refreshEntry(e, ask, now) })
}

// refreshEntry asks for the key of e again and does what the answer says.
func (k *Cache) refreshEntry(e *entry, r request, startedAt time.Time) {
	plain, err := k.call(r, &attempts{})
	defer envelope.Wipe(plain)
	if verdictOf(err) == no {
		defer k.notifyRevoked() // once the key is dropped
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refreshing--
	e.refreshing = false
	defer func() { k.startRefreshes(k.c.Clock()) }()
	k.count.refreshes++
	if err != nil {
		k.count.refreshErrors++
	}
	if k.entries[e.id] != e {
		return // gone meanwhile, and its slot may be another's
	}
	switch verdictOf(err) {
	case yes:
		copy(k.slots.key(e.slot), plain)
		k.renew(e, startedAt)
	case no:
		k.drop(e)
		k.count.revoked++
	case unsure:
		e.asked, e.ask = time.Time{}, request{}
		k.retry(e)
	case silent:
		k.retry(e)
	}
}

// retry says when e is asked for again: after a pause, and more often towards its end, so that the key service has a
// last chance after it is back.
func (k *Cache) retry(e *entry) {
	now := k.c.Clock()
	e.refresh = now.Add(min(k.c.TTL/32+rand.N(k.c.TTL/32+1), k.end(e).Sub(now)/2))
}

// sweepUntilClosed wipes keys that are no longer requested, and refreshes those that the key service owes an answer
// for.
func (k *Cache) sweepUntilClosed() {
	sweep := time.NewTicker(min(max(k.c.TTL/8, 100*time.Millisecond), 10*time.Second))
	defer sweep.Stop()
	refresh := time.NewTicker(min(max(k.c.TTL/256, 10*time.Millisecond), time.Second))
	defer refresh.Stop()
	for {
		select {
		case <-sweep.C:
			k.sweep()
		case <-refresh.C:
			k.refreshDue()
		case <-k.ctx.Done():
			return
		}
	}
}

func (k *Cache) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.c.Clock()
	for _, e := range k.entries {
		if !now.Before(k.end(e)) {
			k.drop(e)
			k.count.expired++
		}
	}
}
