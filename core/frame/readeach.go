package frame

import (
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Item is one name of an OpReadEach. A Code says why the backend refused the name;
// ID and Key are then zero. Without a Code, ID and Key are those of the version to
// open.
type Item struct {
	Name string // by the rules of core.Name; beside a Code at most core.MaxNameLen bytes of text
	Code core.Code
	ID   core.SecretID
	Key  WrappedKey
}

// Result is the answer to one Item. It has a Key, or a Code that says why there is
// none. A refused item is answered with its own code and no message.
type Result struct {
	Code core.Code
	Msg  string // only with a Code; at most MaxItemMsgLen bytes of text
	Key  []byte // envelope.KeySize bytes
}

func (e *encoder) items(items []Item) {
	e.u32(len(items))
	for i := range items {
		it := &items[i]
		e.strings(it.Name, string(it.Code))
		if it.Code == "" {
			e.raw(it.ID[:])
			e.u64(it.Key.Version)
			e.strings(it.Key.KeyID)
			e.bytes(it.Key.Wrapped)
		}
	}
}

func sizeOfItems(items []Item) int {
	n := 4
	for i := range items {
		it := &items[i]
		n += sizeOf(it.Name, string(it.Code))
		if it.Code == "" {
			n += len(it.ID) + 8 + sizeOf(it.Key.KeyID) + 4 + len(it.Key.Wrapped)
		}
	}
	return n
}

func (d *decoder) items() []Item {
	items := make([]Item, d.count(MaxItems))
	for i := range items {
		it := &items[i]
		it.Name, it.Code = d.string(), core.Code(d.string())
		if it.Code == "" {
			it.ID = d.id()
			it.Key = WrappedKey{Version: d.u64(), KeyID: d.string(), Wrapped: d.bytes()}
		}
	}
	return items
}

// problemItems returns the first rule that the items break, or "".
func (r *Request) problemItems() string {
	if len(r.Items) == 0 || len(r.Items) > MaxItems {
		return "number of items is out of range"
	}
	for i := range r.Items {
		if p := r.Items[i].problem(); p != "" {
			return p
		}
	}
	if r.size() > MaxSize {
		return "items are too long together"
	}
	return ""
}

func (it *Item) problem() string {
	if it.Code != "" {
		switch {
		case !it.Code.Known():
			return "code is unknown"
		case !isText(it.Name, core.MaxNameLen):
			return "name is too long or not text"
		case !it.ID.IsZero() || it.Key.Version != 0 || it.Key.KeyID != "" || len(it.Key.Wrapped) != 0:
			return "key is set beside a code"
		}
		return ""
	}
	if _, err := core.ParseName(it.Name); err != nil {
		return "name is not the name of a secret"
	}
	if p := problemTarget(it.ID, it.Key.Version); p != "" {
		return p
	}
	return problemWrapped(it.Key.KeyID, it.Key.Wrapped)
}

func (e *encoder) results(results []Result) {
	e.u32(len(results))
	for i := range results {
		e.strings(string(results[i].Code))
		if results[i].Code != "" {
			e.strings(results[i].Msg)
		} else {
			e.bytes(results[i].Key)
		}
	}
}

func sizeOfResults(results []Result) int {
	n := 4
	for i := range results {
		n += sizeOf(string(results[i].Code))
		if results[i].Code != "" {
			n += sizeOf(results[i].Msg)
		} else {
			n += 4 + len(results[i].Key)
		}
	}
	return n
}

func (d *decoder) results() []Result {
	results := make([]Result, d.count(MaxItems))
	for i := range results {
		r := &results[i]
		if r.Code = core.Code(d.string()); r.Code != "" {
			r.Msg = d.string()
		} else {
			r.Key = d.bytes()
		}
	}
	return results
}

// problemResults returns the first rule that the results break, or "".
func (r *Response) problemResults() string {
	if len(r.Results) == 0 || len(r.Results) > MaxItems {
		return "number of results is out of range"
	}
	for i := range r.Results {
		it := &r.Results[i]
		switch {
		case it.Code == "" && it.Msg != "":
			return "message without a code"
		case it.Code == "" && len(it.Key) != envelope.KeySize:
			return "length of a key is wrong"
		case it.Code == "":
		case !it.Code.Known():
			return "code is unknown"
		case !isText(it.Msg, MaxItemMsgLen):
			return "message is too long or not text"
		case len(it.Key) != 0:
			return "keys are set beside a code"
		}
	}
	return ""
}
