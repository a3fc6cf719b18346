package config

import (
	"reflect"
	"slices"
)

// Setting is one line of the reference of settings.
type Setting struct {
	Name    string // its path in the file, such as slack.token or rules[].name; empty for what only the environment has
	Env     string // its variable; empty for what stands in a list: the list has one, which takes YAML
	Default string
	Doc     string
}

// Settings returns every setting: the server's in the order of [Config], then those of the command line client.
func Settings() []Setting {
	all := settings(reflect.TypeFor[Config](), "", true)
	return append(all,
		Setting{Env: "LOOKOUT_CONFIG", Default: DefaultFile, Doc: "the configuration file"},
		Setting{Env: "LOOKOUT_URL", Default: "http://localhost:7171", Doc: "for the client: the server's address"},
		Setting{Env: "LOOKOUT_TOKEN", Doc: "for the client: the token; by default from the data folder"},
		Setting{Env: "LOOKOUT_TOKEN_FILE", Doc: "a file that holds LOOKOUT_TOKEN"},
	)
}

func settings(t reflect.Type, path string, variables bool) []Setting {
	var all []Setting
	for _, f := range fields(t) {
		s := Setting{Name: join(path, f.key), Default: f.tag.Get("default"), Doc: f.tag.Get("doc")}
		if variables {
			s.Env = variableOf(s.Name)
		}
		switch {
		case isStruct(f.typ):
			all = append(all, settings(f.typ, s.Name, variables)...)
			continue
		case f.typ == secretType:
			all = append(all, s)
			file := Setting{Name: s.Name + "_file", Doc: "a file that holds " + s.Name}
			if s.Env != "" {
				file.Env = s.Env + "_FILE"
			}
			s = file
		}
		all = append(all, s)
		if f.typ.Kind() == reflect.Slice && isStruct(f.typ.Elem()) {
			all = append(all, settings(f.typ.Elem(), s.Name+"[]", false)...)
		}
		if f.typ.Kind() == reflect.Map && isStruct(f.typ.Elem()) {
			all = append(all, settings(f.typ.Elem(), s.Name+".NAME", false)...)
		}
	}
	return all
}

// reloaded are the settings that count from when the configuration is read again; all others are read at the start only.
var reloaded = []string{
	"slack.channel", "channels", "rules", "routes", "maintenance", "quiet_hours", "templates", "channel_templates", "probes", "ways", "retention",
}

// NeedsRestart returns the names of the settings in which now differs and which are read at the start only.
func (c *Config) NeedsRestart(now *Config) []string {
	return differing(reflect.ValueOf(c).Elem(), reflect.ValueOf(now).Elem(), "")
}

func differing(was, is reflect.Value, path string) (names []string) {
	for _, f := range fields(was.Type()) {
		at := join(path, f.key)
		switch a, b := was.Field(f.index), is.Field(f.index); {
		case slices.Contains(reloaded, at):
		case isStruct(f.typ):
			names = append(names, differing(a, b, at)...)
		case !reflect.DeepEqual(a.Interface(), b.Interface()):
			names = append(names, at)
		}
	}
	return names
}
