package config

// Reload reads the files of the settings that may change while the process runs, and returns old with what they hold
// now. The environment itself never changes. A setting that cannot be read or is wrong keeps its value of old and has
// a Problem; of the others fixed names those that stand in the environment, where a reload cannot reach them.
func Reload(environ func() []string, old Config) (c Config, problems []Problem, fixed []string) {
	l := newLoader(environ())
	l.cfg = old
	for _, s := range settings {
		if !s.reload {
			continue
		}
		if _, ok := l.values[s.name+fileSuffix]; !ok {
			if _, ok := l.values[s.name]; ok {
				fixed = append(fixed, s.name)
			}
			continue
		}
		l.reload(s)
	}
	return l.cfg, l.problems, fixed
}

// reload applies one setting, or leaves it as it is.
func (l *loader) reload(s setting) {
	if !l.readFile(s) {
		return
	}
	next := l.cfg
	value := l.values[s.name] // of a list, "" is the empty one
	if err := s.set(&next, value); err != nil {
		l.fail(s.name, "%s", l.explain(s, value, err))
		return
	}
	l.cfg = next
}
