package doortest

import (
	"context"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// job is a rotation that is due or was done for one due time.
type job struct {
	id       vault.JobID
	due      time.Time
	worker   string // "" = no worker has it
	until    time.Time
	attempts int
	retry    time.Time
	reason   string
}

func (s *Store) reschedule(x *secret) {
	delete(s.jobs, x.info.ID)
	x.info.NextRotationAt = time.Time{}
	if x.info.RotationIntervalSecs > 0 {
		x.info.NextRotationAt = s.Now().Add(time.Duration(x.info.RotationIntervalSecs) * time.Second)
	}
}

// ConfigureSecret implements vault.Store.
func (s *Store) ConfigureSecret(_ context.Context, c vault.Configuration, by vault.Author) (vault.Secret, error) {
	leave, err := s.enter("ConfigureSecret")
	defer leave()
	if err != nil {
		return vault.Secret{}, err
	}
	o, err := s.admit(by, "update", string(c.Name))
	if err != nil {
		return vault.Secret{}, err
	}
	x, err := s.current(c.ID, c.Expected)
	if err != nil {
		return vault.Secret{}, err
	}
	if c.Revision != 0 && c.Revision != x.info.SettingsRevision {
		return vault.Secret{}, core.Errorf(core.Stale, "settings of secret %q are at revision %d, not %d", x.info.Name, x.info.SettingsRevision, c.Revision)
	}
	if err := s.configure(x, c.Settings); err != nil {
		return vault.Secret{}, err
	}
	x.info.SettingsRevision++
	s.record(o, vault.ActionConfigure, string(x.info.Name), x.info.CurrentVersion)
	return s.at(x.info), nil
}

// configure changes the settings that in has.
func (s *Store) configure(x *secret, in vault.Settings) error {
	r := &x.info.Rotation
	set(&x.info.Description, in.Description)
	set(&x.info.CASRequired, in.CASRequired)
	set(&x.info.DeleteVersionAfterSecs, in.DeleteVersionAfterSecs)
	if in.Tags != nil {
		x.info.Tags = in.Tags
	}
	if in.RotationIntervalSecs != nil || in.RotationSchedule != nil {
		if x.info.Kind == core.Manual {
			return core.Errorf(core.Invalid, "a manual secret has no rotation_interval_secs and no rotation_schedule")
		}
		x.info.RotationIntervalSecs, r.Schedule = 0, ""
		set(&x.info.RotationIntervalSecs, in.RotationIntervalSecs)
		set(&r.Schedule, in.RotationSchedule)
		s.reschedule(x)
	}
	set(&r.TimeZone, in.RotationTimeZone)
	set(&r.WindowSecs, in.RotationWindowSecs)
	set(&r.Paused, in.RotationPaused)
	set(&r.KeepVersions, in.KeepVersions)
	set(&x.info.GracePeriodSecs, in.GracePeriodSecs)
	if in.GeneratePolicy != nil {
		x.info.GeneratePolicy = in.GeneratePolicy
	}
	return nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// ExpireVersion implements vault.Store.
func (s *Store) ExpireVersion(_ context.Context, e vault.Expiry, by vault.Author) (vault.VersionInfo, error) {
	leave, err := s.enter("ExpireVersion")
	defer leave()
	if err != nil {
		return vault.VersionInfo{}, err
	}
	o, err := s.admit(by, "rotate", string(e.Name))
	if err != nil {
		return vault.VersionInfo{}, err
	}
	for _, x := range s.secrets {
		if x.info.ID != e.ID {
			continue
		}
		if x.info.CurrentVersion == e.Version {
			return vault.VersionInfo{}, core.Errorf(core.Invalid, "version %d of secret %q is the current one", e.Version, x.info.Name)
		}
		for i := range x.versions {
			v := &x.versions[i]
			if v.number != e.Version {
				continue
			}
			if end := s.Now().Add(time.Duration(e.GraceSecs) * time.Second); end.Before(v.expires) {
				v.expires = end
			}
			s.record(o, vault.ActionExpire, string(x.info.Name), e.Version)
			ended := vault.VersionInfo{Version: v.number, EnvelopeVersion: v.sealed.EnvelopeVersion,
				KMSKeyID: v.sealed.Key.KeyID, CreatedAt: v.created, ExpiresAt: v.expires, Position: s.position()}
			x.versions = slices.DeleteFunc(x.versions, func(v version) bool { return !s.exists(x, v) })
			return ended, nil
		}
	}
	return vault.VersionInfo{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
}

// ClaimRotations implements vault.Store, and does the supervisor's part first.
func (s *Store) ClaimRotations(_ context.Context, worker string, lease time.Duration, limit int) ([]vault.Claim, error) {
	leave, err := s.enter("ClaimRotations")
	defer leave()
	if err != nil {
		return nil, err
	}
	if s.jobs == nil {
		s.jobs = map[core.SecretID]*job{}
	}
	now := s.Now()
	var out []vault.Claim
	for _, x := range s.secrets {
		i := &x.info
		if i.NextRotationAt.IsZero() || i.NextRotationAt.After(now) || i.Rotation.Paused || len(out) == limit {
			continue
		}
		j := s.jobs[i.ID]
		if j == nil {
			j = &job{id: vault.JobID(i.ID), due: i.NextRotationAt}
			s.jobs[i.ID] = j
		}
		if j.until.After(now) || j.retry.After(now) {
			continue
		}
		j.worker, j.until = worker, now.Add(lease)
		j.attempts++
		r := x.result()
		out = append(out, vault.Claim{Job: j.id, Worker: worker, DueAt: j.due, ClaimedAt: now, Attempts: j.attempts, Secret: r.Secret, Err: r.Err})
	}
	return out, nil
}

func (s *Store) held(c vault.Claim) (*job, error) {
	j := s.jobs[core.SecretID(c.Job)]
	if j == nil || j.worker != c.Worker {
		return nil, core.Wrap(core.Stale, vault.ErrClaimLost, "the claim on the rotation is lost")
	}
	return j, nil
}

// CompleteRotation implements vault.Store.
func (s *Store) CompleteRotation(_ context.Context, r vault.RotatedVersion, o vault.Origin) (vault.Secret, error) {
	leave, err := s.enter("CompleteRotation")
	defer leave()
	if err != nil {
		return vault.Secret{}, err
	}
	if _, err := s.held(r.Claim); err != nil {
		return vault.Secret{}, err
	}
	x, err := s.current(r.Claim.Secret.ID, r.Expected)
	if err != nil {
		return vault.Secret{}, err
	}
	if err := x.setPassword(r.Password); err != nil {
		return vault.Secret{}, err
	}
	s.reschedule(x)
	if x.info.RotationIntervalSecs == 0 {
		x.info.NextRotationAt = r.NextAt
	}
	s.supersede(x, r.Sealed, vault.ActionRotate, o)
	return s.at(x.info), nil
}

// FailRotation implements vault.Store.
func (s *Store) FailRotation(_ context.Context, f vault.RotationFailure, o vault.Origin) (time.Time, error) {
	leave, err := s.enter("FailRotation")
	defer leave()
	if err != nil {
		return time.Time{}, err
	}
	j, err := s.held(f.Claim)
	if err != nil {
		return time.Time{}, err
	}
	j.worker, j.until, j.reason = "", time.Time{}, f.Reason
	j.retry = s.Now().Add(2 * time.Second)
	s.Recorder.add(vault.Entry{Origin: o, Action: vault.ActionRotate, Name: string(f.Claim.Secret.Name),
		Outcome: vault.OutcomeFailed, Code: f.Code})
	return j.retry, nil
}

// RenewRotations implements vault.Store.
func (s *Store) RenewRotations(_ context.Context, worker string, lease time.Duration) error {
	leave, err := s.enter("RenewRotations")
	defer leave()
	for _, j := range s.jobs {
		if err == nil && j.worker == worker {
			j.until = s.Now().Add(lease)
		}
	}
	return err
}

// ReleaseRotation implements vault.Store.
func (s *Store) ReleaseRotation(_ context.Context, c vault.Claim) error {
	leave, err := s.enter("ReleaseRotation")
	defer leave()
	if err != nil {
		return err
	}
	j, err := s.held(c)
	if err != nil {
		return err
	}
	j.worker, j.until = "", time.Time{}
	j.attempts--
	return nil
}

// FailureOf returns the reason that the open job of a secret failed with last.
func (s *Store) FailureOf(id core.SecretID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		return j.reason
	}
	return ""
}

// UnplannedRotations implements vault.Store.
func (s *Store) UnplannedRotations(_ context.Context, limit int) ([]vault.Unplanned, error) {
	leave, err := s.enter("UnplannedRotations")
	defer leave()
	if err != nil {
		return nil, err
	}
	var out []vault.Unplanned
	for _, x := range s.secrets {
		if x.info.Rotation.Schedule != "" && x.info.NextRotationAt.IsZero() && x.planFailed == "" && len(out) < limit {
			r := x.result()
			out = append(out, vault.Unplanned{Now: s.Now(), Secret: r.Secret, Err: r.Err})
		}
	}
	return out, nil
}

// PlanRotation implements vault.Store.
func (s *Store) PlanRotation(_ context.Context, wanted vault.Secret, at time.Time) (bool, error) {
	leave, err := s.enter("PlanRotation")
	defer leave()
	if err != nil {
		return false, err
	}
	x := s.secrets[wanted.Name]
	if x == nil || x.info.Rotation.Schedule != wanted.Rotation.Schedule || !x.info.NextRotationAt.IsZero() {
		return false, nil
	}
	x.info.NextRotationAt = at
	return true, nil
}

// FailPlans implements vault.Store.
func (s *Store) FailPlans(_ context.Context, failures []vault.PlanFailure, _ time.Time) error {
	leave, err := s.enter("FailPlans")
	defer leave()
	if err != nil {
		return err
	}
	for _, f := range failures {
		for _, x := range s.secrets {
			if x.info.ID == f.ID {
				x.planFailed = f.Reason
			}
		}
	}
	return nil
}

// PlanErrorOf returns why the schedule of a secret could not be planned.
func (s *Store) PlanErrorOf(name core.Name) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secrets[name].planFailed
}

func (s *Store) nameOf(j *job) (name core.Name) {
	for _, x := range s.secrets {
		if x.info.ID == core.SecretID(j.id) {
			name = x.info.Name
		}
	}
	return name
}
