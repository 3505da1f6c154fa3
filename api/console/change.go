package console

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// creation is the form of a new secret, with what was entered before. The value is never sent back.
type creation struct {
	Problem                                  string
	Name, Kind, ContentType                  string
	Description, Tags                        string
	Interval, IntervalUnit, Grace, GraceUnit string
	Units                                    []unit
	Types                                    []core.ContentType
}

// unit is what a number of a form counts.
type unit struct {
	Name string
	secs int64
}

var units = []unit{{"minutes", 60}, {"hours", 3600}, {"days", 86400}}

func (v *visit) showCreate() error {
	return v.creationPage(http.StatusOK, creation{Name: v.query.Get("prefix"), Kind: string(core.Manual), GraceUnit: "hours", IntervalUnit: "days"})
}

func (v *visit) creationPage(status int, c creation) error {
	c.Units, c.Types = units, []core.ContentType{core.Text, core.JSON, core.Binary}
	return v.show(status, "create.html", v.page("New secret", "secrets", c))
}

// create makes a secret. What is wrong is said above the form.
func (v *visit) create() error {
	f, err := v.form(v.valueLimit())
	defer f.wipe()
	if err != nil {
		return v.reject(vault.ActionCreate, "", err)
	}
	c := creation{
		Name: f.text("name"), Kind: f.text("kind"), ContentType: f.text("content_type"), Description: f.typed("description"), Tags: f.typed("tags"),
		Interval: f.text("interval"), IntervalUnit: f.text("interval_unit"), Grace: f.text("grace"), GraceUnit: f.text("grace_unit"),
	}
	r, err := c.request()
	if err != nil {
		err = v.reject(vault.ActionCreate, c.Name, err)
	} else {
		if f.given("value") || r.Kind == string(core.Manual) {
			r.Value = f.value("value") // the door wipes it
		}
		var made vault.Secret
		if made, err = v.c.vault.Create(v.ctx(), v.caller, r); err == nil {
			v.session.changed(made.Position, v.c.clock())
			v.done("/secret", "created", "name", string(made.Name))
			return nil
		}
	}
	status, problem, err := v.explain(err)
	if err != nil {
		return err
	}
	c.Problem = problem
	return v.creationPage(status, c)
}

func (c *creation) request() (r vault.CreateRequest, err error) {
	r = vault.CreateRequest{Name: c.Name, Kind: c.Kind, ContentType: c.ContentType, Description: c.Description}
	if r.Tags, err = parseTags(c.Tags); err != nil {
		return r, err
	}
	if r.RotationIntervalSecs, err = seconds("the interval", c.Interval, c.IntervalUnit); err != nil {
		return r, err
	}
	r.GracePeriodSecs, err = seconds("the grace", c.Grace, c.GraceUnit)
	return r, err
}

// seconds reads a number of a unit; "" is 0.
func seconds(what, number, name string) (int64, error) {
	if number == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return 0, core.Errorf(core.Invalid, "%s is not a whole number", what)
	}
	for _, u := range units {
		if u.Name == name {
			return n * u.secs, nil
		}
	}
	return 0, core.Errorf(core.Invalid, "%s has no unit", what)
}

// parseTags reads a tag in each line, as name=text.
func parseTags(s string) (map[string]string, error) {
	tags := map[string]string{}
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, text, ok := strings.Cut(line, "=")
		name, text = strings.TrimSpace(name), strings.TrimSpace(text)
		if _, twice := tags[name]; !ok || twice {
			return nil, core.Errorf(core.Invalid, "each line of the tags is name=text, with each name once")
		}
		tags[name] = text
	}
	return tags, nil
}

// replacement is the form of a new value.
type replacement struct {
	Problem  string
	Name     string
	Expected uint64 // the version that it replaces
	Newer    bool   // another change came first
}

func (v *visit) showUpdate() error {
	s, err := v.c.vault.Describe(v.ctx(), v.caller, v.query.Get("name"))
	if err != nil {
		return err
	}
	return v.replacementPage(http.StatusOK, replacement{Name: string(s.Name), Expected: s.CurrentVersion})
}

func (v *visit) replacementPage(status int, r replacement) error {
	return v.show(status, "update.html", v.page("New value of "+r.Name, "secrets", r))
}

// update stores a new version in place of the one that the form was made for.
func (v *visit) update() error {
	f, err := v.form(v.valueLimit())
	defer f.wipe()
	if err != nil {
		return v.reject(vault.ActionUpdate, "", err)
	}
	name := f.text("name")
	expected, err := expectedOf(f)
	if err != nil {
		return v.reject(vault.ActionUpdate, name, err)
	}
	made, err := v.c.vault.Update(v.ctx(), v.caller, vault.UpdateRequest{Name: name, Expected: expected, Value: f.value("value")})
	if err == nil {
		v.session.changed(made.Position, v.c.clock())
		v.done("/secret", "updated", "name", name)
		return nil
	}
	newer := core.CodeOf(err) == core.Stale
	status, problem, err := v.explain(err)
	if err != nil {
		return err
	}
	return v.replacementPage(status, replacement{Problem: problem, Name: name, Expected: expected, Newer: newer})
}

// expectedOf reads the version that a change replaces. A form always names one; 0 stands for a secret without a version.
func expectedOf(f form) (uint64, error) {
	n, err := strconv.ParseUint(f.text("expected"), 10, 63)
	if err != nil {
		return 0, core.Errorf(core.Invalid, "the form does not name the version that it replaces")
	}
	if n == 0 {
		return vault.NoVersion, nil
	}
	return n, nil
}

// confirmation is the form of a change that is made after the name was typed.
type confirmation struct {
	Problem  string
	Name     string
	Expected uint64 // of a rotation: the version that it replaces
	Version  uint64 // of an expiry
	Grace    string
}

func (v *visit) showRotate() error {
	s, err := v.c.vault.Describe(v.ctx(), v.caller, v.query.Get("name"))
	if err != nil {
		return err
	}
	return v.rotationPage(http.StatusOK, confirmation{Name: string(s.Name), Expected: s.CurrentVersion})
}

func (v *visit) rotationPage(status int, c confirmation) error {
	return v.show(status, "rotate.html", v.page("Rotate "+c.Name, "secrets", c))
}

// rotate has a new value generated.
func (v *visit) rotate() error {
	f, err := v.form(smallForm)
	defer f.wipe()
	if err != nil {
		return v.reject(vault.ActionRotate, "", err)
	}
	c := confirmation{Name: f.text("name")}
	if c.Expected, err = expectedOf(f); err != nil {
		return v.reject(vault.ActionRotate, c.Name, err)
	}
	var made vault.Secret
	if err = confirmed(f); err != nil {
		err = v.reject(vault.ActionRotate, c.Name, err)
	} else {
		made, err = v.c.vault.Rotate(v.ctx(), v.caller, vault.RotateRequest{Name: c.Name, Expected: c.Expected})
	}
	if err == nil {
		v.session.changed(made.Position, v.c.clock())
		v.done("/secret", "rotated", "name", c.Name)
		return nil
	}
	status, problem, err := v.explain(err)
	if err != nil {
		return err
	}
	c.Problem = problem
	return v.rotationPage(status, c)
}

func (v *visit) showExpire() error {
	version, err := versionOf(v.query.Get("version"))
	if err != nil {
		return err
	}
	s, err := v.c.vault.Describe(v.ctx(), v.caller, v.query.Get("name"))
	if err != nil {
		return err
	}
	return v.expiryPage(http.StatusOK, confirmation{Name: string(s.Name), Version: version, Grace: "0"})
}

func (v *visit) expiryPage(status int, c confirmation) error {
	return v.show(status, "expire.html", v.page("End the grace of "+c.Name, "secrets", c))
}

// expire shortens the grace of a superseded version.
func (v *visit) expire() error {
	f, err := v.form(smallForm)
	defer f.wipe()
	if err != nil {
		return v.reject(vault.ActionExpire, "", err)
	}
	c := confirmation{Name: f.text("name"), Grace: f.text("grace")}
	c.Version, err = versionOf(f.text("version"))
	if err == nil {
		err = confirmed(f)
	}
	minutes, problem := seconds("the time", c.Grace, "minutes")
	if err == nil {
		err = problem
	}
	var made vault.VersionInfo
	if err != nil {
		err = v.reject(vault.ActionExpire, c.Name, err)
	} else {
		made, err = v.c.vault.Expire(v.ctx(), v.caller, c.Name, c.Version, minutes)
	}
	if err == nil {
		v.session.changed(made.Position, v.c.clock())
		v.done("/secret", "expired", "name", c.Name)
		return nil
	}
	status, text, err := v.explain(err)
	if err != nil {
		return err
	}
	c.Problem = text
	return v.expiryPage(status, c)
}

// confirmed reports whether the name was typed.
func confirmed(f form) error {
	if f.text("confirm") == "" || f.text("confirm") != f.text("name") {
		return core.Errorf(core.Invalid, "type the name of the secret to confirm")
	}
	return nil
}

// reject records a request that cannot be passed on, and returns what its user is told.
func (v *visit) reject(action vault.Action, name string, err error) error {
	return v.c.vault.Reject(v.ctx(), v.caller, action, name, err)
}

// explain returns what a form says of an error; err again where a page of its own does that better.
func (v *visit) explain(err error) (status int, text string, _ error) {
	switch core.CodeOf(err) {
	case core.Invalid, core.TooLarge, core.Exists, core.Stale, core.NotFound, core.Denied:
		p := v.Judge(err)
		return p.Status, p.Text, nil
	}
	return 0, "", err
}

// done answers that a change was made, by the page that shows it.
func (v *visit) done(path, notice string, pairs ...string) {
	q := url.Values{"done": {notice}}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	v.redirect(path, q)
}

// typed returns a field of several lines that is no secret.
func (f form) typed(name string) string {
	b := f.value(name)
	defer envelope.Wipe(b)
	return string(b)
}
