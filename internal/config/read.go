package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxSecret is the longest file of a secret, in bytes; maxNodes how many values a configuration may have once its aliases
// are followed.
const (
	maxSecret = 64 << 10
	maxNodes  = 20_000
)

// reader turns YAML and environment into a Config. It goes on after a problem, to find the others too.
type reader struct {
	env     func(string) (string, bool)
	file    string
	source  place // the file or the variable that is being read; its line is that of the value
	places  map[string]place
	failed  map[string]bool
	secrets map[string]secretFile
	// entries put the structs of maps back, by path: a map has copies, which do not get what a secret's file holds.
	entries  map[string]func()
	problems []Problem
	warnings []Warning
	nodes    int
	sent     bool  // by somebody: no file may be read
	inline   place // a secret that stands in the file itself
}

func newReader(env func(string) (string, bool)) *reader {
	return &reader{env: env, places: map[string]place{}, failed: map[string]bool{}, secrets: map[string]secretFile{}, entries: map[string]func(){}}
}

// secretFile is a secret that stands in a file; it is read when no variable has taken its place.
type secretFile struct {
	name string
	at   place
	to   *Secret
}

// variable returns what is set, and not to nothing.
func (r *reader) variable(name string) (string, bool) {
	v, ok := r.env(name)
	return v, ok && v != ""
}

// read fills c. It reports whether there is something to validate: false when the file is not even YAML.
func (r *reader) read(data []byte, c *Config) bool {
	v := reflect.ValueOf(c).Elem()
	defaults(v)
	if root, ok := r.parse(data); !ok {
		return false
	} else if root != nil {
		r.decode(root, v, "", "")
	}
	r.environment(v, "")
	r.readSecrets()
	return true
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// parse returns the only document's root, nil when there is none.
func (r *reader) parse(data []byte) (*yaml.Node, bool) {
	var doc, second yaml.Node
	d := yaml.NewDecoder(strings.NewReader(string(data)))
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, true
	}
	if err == nil {
		if err = d.Decode(&second); errors.Is(err, io.EOF) {
			return doc.Content[0], true
		}
		if err == nil {
			r.source.line = second.Line
			r.failAt(r.source, "", "", &bad{message: "a second document begins", mend: "put all settings into one document, without ---"})
			return nil, false
		}
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	r.source.line = 1 // what yaml leaves out
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		r.source.line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	if strings.HasPrefix(text, "unknown anchor") {
		r.source.line = 0
		text = "a value begins with * and is no alias" // YAML's own words quote the value
	}
	mend := "look at this line and those beside it; a value with : # * & ! % @ ` { or [ goes into quotes"
	if line, quote := halfQuoted(data); line != 0 {
		r.source.line = line
		text, mend = "the value begins with "+quote+" and goes on behind the next one", "put the whole into '…', with each ' in it written twice: query: '\"order shipped\" env:prod'"
	}
	r.failAt(r.source, "", "", &bad{message: "is not YAML: " + text, mend: mend})
	return nil, false
}

// halfQuoted finds the first line whose value is quoted to a part of it, as queries are when they are written down as they are: YAML
// itself names the line where the list begins.
func halfQuoted(data []byte) (line int, quote string) {
	for text := range bytes.Lines(data) {
		line++
		if m := quotedPart.FindSubmatch(text); m != nil {
			return line, string(m[1][0])
		}
	}
	return 0, ""
}

// quotedPart is a line with key: "value" and more than a remark behind it.
var quotedPart = regexp.MustCompile(`^\s*(?:- +)?[\w.-]+: +("[^"\\]*"|'[^']*')[ \t]+[^#\s]`)

// field is a struct field with a key.
type field struct {
	key   string
	index int
	tag   reflect.StructTag
	typ   reflect.Type
}

var secretType = reflect.TypeFor[Secret]()

func fields(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("key"); key != "" {
			all = append(all, field{key, i, t.Field(i).Tag, t.Field(i).Type})
		}
	}
	return all
}

// defaults sets what the tags of a struct say. A default that is not valid is a mistake in this package.
func defaults(v reflect.Value) {
	for _, f := range fields(v.Type()) {
		to := v.Field(f.index)
		if isStruct(f.typ) {
			defaults(to)
		} else if text, ok := f.tag.Lookup("default"); ok {
			if err := setText(to, f.tag, text); err != nil {
				panic("config: default of " + f.key + ": " + err.Error())
			}
		}
	}
}

func isStruct(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isScalar(t) }

func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return false
	case reflect.Struct:
		return reflect.PointerTo(t).Implements(reflect.TypeFor[scalar]())
	}
	return true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// decode sets v, the setting at path, to n.
func (r *reader) decode(n *yaml.Node, v reflect.Value, tag reflect.StructTag, path string) {
	r.source.line = n.Line
	if path != "" {
		r.places[path] = r.source
	}
	if r.nodes++; r.nodes > maxNodes {
		if r.nodes == maxNodes+1 {
			r.failAt(r.source, path, "", &bad{message: fmt.Sprintf("there are more than %d values", maxNodes), mend: "leave out what aliases repeat"})
		}
		return
	}
	n = follow(n)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && !isScalar(v.Type()) && v.Type() != reflect.TypeFor[[]Channel]() {
		return // "slack:" with nothing behind it; "channel: #ops" is a mistake
	}
	switch t := v.Type(); {
	case isScalar(t):
		if text, ok := r.text(n, path, t); ok {
			r.set(v, tag, path, text)
		}
	case t.Kind() == reflect.Slice:
		r.list(n, v, tag, path)
	case t.Kind() == reflect.Map:
		r.mapping(n, path, func(key string, value *yaml.Node) {
			to := reflect.New(t.Elem()).Elem()
			if isStruct(t.Elem()) {
				defaults(to)
				r.entries[join(path, key)] = func() { v.SetMapIndex(reflect.ValueOf(key), to) }
			}
			r.decode(value, to, tag, join(path, key))
			if v.IsNil() {
				v.Set(reflect.MakeMap(t))
			}
			v.SetMapIndex(reflect.ValueOf(key), to)
		})
	default:
		if f := short(t); f != nil && n.Kind == yaml.ScalarNode {
			r.decode(n, v.Field(f.index), f.tag, path)
			return
		}
		r.object(n, v, path)
	}
}

// short is the field of a struct that may stand for the whole, nil when none may.
func short(t reflect.Type) *field {
	if !isStruct(t) {
		return nil
	}
	for _, f := range fields(t) {
		if f.tag.Get("short") != "" {
			return &f
		}
	}
	return nil
}

func (r *reader) list(n *yaml.Node, v reflect.Value, tag reflect.StructTag, path string) {
	t := v.Type()
	v.SetZero() // the default is replaced, not added to
	add := func(n *yaml.Node, path string) {
		to := reflect.New(t.Elem()).Elem()
		if isStruct(t.Elem()) {
			defaults(to)
		}
		r.decode(n, to, tag, path)
		v.Set(reflect.Append(v, to))
	}
	switch {
	case n.Kind == yaml.ScalarNode && tag.Get("sep") != "":
		r.set(v, tag, path, n.Value)
	case n.Kind == yaml.ScalarNode && (isScalar(t.Elem()) || short(t.Elem()) != nil):
		add(n, path) // one where a list may stand
	case n.Kind != yaml.SequenceNode:
		r.failAt(r.source, path, "", &bad{message: "a list belongs here, this is " + kind(n), mend: "begin each entry with -"})
	default:
		for i, item := range n.Content {
			add(item, fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

// object decodes a struct: its keys, and a key with _file behind it for each secret.
func (r *reader) object(n *yaml.Node, v reflect.Value, path string) {
	all := fields(v.Type())
	at := r.source
	seen := r.mapping(n, path, func(key string, value *yaml.Node) {
		for _, f := range all {
			to := v.Field(f.index)
			switch {
			case key == f.key:
				r.decode(value, to, f.tag, join(path, key))
				if f.typ == secretType && r.inline == (place{}) {
					r.inline = r.source
				}
				return
			case f.typ == secretType && key == f.key+"_file":
				r.secretFile(value, to, join(path, f.key))
				return
			}
		}
		var known []string
		for _, f := range all {
			known = append(known, f.key)
			if f.typ == secretType {
				known = append(known, f.key+"_file")
			}
		}
		b := &bad{message: "there is no such setting", mend: "there are " + strings.Join(known, ", ")}
		if near := nearest(key, known); near != "" {
			b.mend = "did you mean " + near + "?"
		}
		r.failAt(r.source, join(path, shown(key)), "", b)
	})
	if seen == nil {
		return
	}
	for _, f := range all {
		switch {
		case f.typ == secretType && seen[f.key] && seen[f.key+"_file"]:
			r.fail(join(path, f.key), "", "there is "+f.key+" and "+f.key+"_file", "keep one of them")
		case f.tag.Get("required") != "" && !seen[f.key]:
			r.failAt(at, join(path, f.key), "", &bad{message: "is missing", mend: "add " + f.key + ": …"})
		}
	}
}

// mapping calls each for the entries of a mapping and returns the keys; nil when n is none. A key that stands there twice
// is a problem, and its first value counts.
func (r *reader) mapping(n *yaml.Node, path string, each func(key string, value *yaml.Node)) map[string]bool {
	if n.Kind != yaml.MappingNode {
		r.failAt(r.source, path, "", &bad{message: "settings belong here, this is " + kind(n), mend: "write them below it, indented, each as key: value"})
		return nil
	}
	seen, lines := map[string]bool{}, map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := follow(n.Content[i])
		r.source.line = n.Content[i].Line
		switch {
		case k.Kind != yaml.ScalarNode:
			r.failAt(r.source, path, "", &bad{message: "a key is " + kind(k), mend: "a key is a word"})
		case seen[k.Value]:
			r.failAt(r.source, join(path, shown(k.Value)), "", &bad{message: fmt.Sprintf("stands here twice, first in line %d", lines[k.Value]), mend: "keep one of them"})
		default:
			seen[k.Value], lines[k.Value] = true, r.source.line
			each(k.Value, n.Content[i+1])
		}
	}
	return seen
}

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a text"
}

// text returns the text of a scalar as it stands in the file, whatever YAML takes it for.
func (r *reader) text(n *yaml.Node, path string, t reflect.Type) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		r.failAt(r.source, path, "", &bad{message: "a text belongs here, this is " + kind(n), mend: "put a text that has [ or { in it into quotes"})
	case strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"):
		b := &bad{message: "begins with !, which means something else to YAML", mend: "put the text into quotes: '!…'"}
		r.failAt(r.source, path, "", b)
	case n.Tag == "!!null" && n.Value == "":
		b := &bad{message: "has no value", mend: "give one, or take the line out"}
		if t == reflect.TypeFor[Channel]() {
			b.mend = `a # begins a comment; put the channel into quotes: "#ops"`
		}
		r.failAt(r.source, path, "", b)
	default:
		return n.Value, true
	}
	return "", false
}

// set sets v, the setting at path, from a text of the current source.
func (r *reader) set(v reflect.Value, tag reflect.StructTag, path, text string) {
	r.places[path] = r.source
	err := setText(v, tag, text)
	if err == nil {
		return
	}
	if v.Type() == secretType || v.Type() == reflect.TypeFor[SecretLine]() {
		text = ""
	}
	b := (*bad)(nil)
	errors.As(err, &b)
	if b.detail != "" {
		text = "" // it is shown there
	}
	r.failAt(r.source, path, text, b)
}

// setText sets a scalar, or a list whose tag has a separator. Its errors are of type *bad.
func setText(v reflect.Value, tag reflect.StructTag, text string) error {
	if s, ok := v.Addr().Interface().(scalar); ok {
		if err := s.set(text); err != nil {
			return err
		}
		return inRange(v, tag)
	}
	switch v.Kind() {
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "yes", "on":
			v.SetBool(true)
		case "false", "no", "off":
			v.SetBool(false)
		default:
			return &bad{message: "is neither true nor false", mend: "write true or false"}
		}
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return &bad{message: "is not a whole number", mend: "write digits only"}
		}
		v.SetInt(n)
		return inRange(v, tag)
	case reflect.Slice:
		v.SetZero()
		for part := range strings.SplitSeq(text, tag.Get("sep")) {
			to := reflect.New(v.Type().Elem()).Elem()
			if err := setText(to, tag, strings.TrimSpace(part)); err != nil {
				return err
			}
			v.Set(reflect.Append(v, to))
		}
	default:
		if oneof := strings.Fields(tag.Get("oneof")); len(oneof) > 0 && !slices.Contains(oneof, text) {
			b := &bad{message: "is not one of its values", mend: "use " + strings.Join(oneof, ", ")}
			if near := nearest(text, oneof); near != "" {
				b.mend = "did you mean " + near + "?"
			}
			return b
		}
		v.SetString(text)
	}
	return nil
}

// inRange checks a number, a size or a duration against the tags min and max, which are written as the setting is.
func inRange(v reflect.Value, tag reflect.StructTag) error {
	bound := func(name string, outside func(bound int64) bool) bool {
		text, ok := tag.Lookup(name)
		if !ok || !v.CanInt() {
			return false
		}
		b := reflect.New(v.Type()).Elem()
		if err := setText(b, "", text); err != nil {
			panic("config: tag " + name + ": " + text)
		}
		return outside(b.Int())
	}
	if bound("min", func(b int64) bool { return v.Int() < b }) {
		return &bad{message: "is too small", mend: "the least is " + tag.Get("min")}
	}
	if bound("max", func(b int64) bool { return v.Int() > b }) {
		return &bad{message: "is too much", mend: "the most is " + tag.Get("max")}
	}
	return nil
}

// environment lays the variables over v, whose settings are at path.
func (r *reader) environment(v reflect.Value, path string) {
	for _, f := range fields(v.Type()) {
		at, to := join(path, f.key), v.Field(f.index)
		name := variableOf(at)
		if isStruct(f.typ) {
			r.environment(to, at)
			continue
		}
		text, set := r.variable(name)
		r.source = place{variable: name}
		if f.typ == secretType {
			r.secretVariable(to.Addr().Interface().(*Secret), at, name, text, set)
			continue
		}
		if !set {
			continue
		}
		switch {
		case isScalar(f.typ), f.tag.Get("sep") != "":
			r.set(to, f.tag, at, text)
		default: // rules and the like, as YAML
			if n, ok := r.parse([]byte(text)); ok && n != nil {
				to.SetZero()
				within := func(path string) bool { return strings.HasPrefix(path, at+".") }
				maps.DeleteFunc(r.secrets, func(path string, _ secretFile) bool { return within(path) })
				maps.DeleteFunc(r.entries, func(path string, _ func()) bool { return within(path) })
				r.decode(n, to, f.tag, at)
			}
		}
	}
}

func variableOf(path string) string {
	return "LOOKOUT_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// secretFile notes the file a secret stands in. A relative name is meant from the configuration file's folder.
func (r *reader) secretFile(n *yaml.Node, to reflect.Value, path string) {
	r.source.line = n.Line
	at := path + "_file"
	r.places[at] = r.source
	name, ok := r.text(follow(n), at, secretType)
	if !ok {
		return
	}
	if name == "" {
		r.failAt(r.source, at, "", &bad{message: "has no value", mend: "name a file"})
		return
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(r.source.file), name)
	}
	r.secrets[path] = secretFile{name, r.source, to.Addr().Interface().(*Secret)}
}

func (r *reader) secretVariable(to *Secret, path, name, text string, set bool) {
	file, fileSet := r.variable(name + "_FILE")
	switch {
	case set && fileSet:
		r.failAt(r.source, path, "", &bad{message: name + " and " + name + "_FILE are both set", mend: "keep one of them"})
	case set:
		delete(r.secrets, path)
		r.set(reflect.ValueOf(to).Elem(), "", path, text)
	case fileSet:
		r.secrets[path] = secretFile{file, place{variable: name + "_FILE"}, to}
	}
}

// readSecrets reads the files that hold secrets and warns of those that everybody can read.
func (r *reader) readSecrets() {
	for path, s := range r.secrets {
		at := path + "_file"
		r.places[path], r.places[at] = s.at, s.at
		if r.sent {
			*s.to = Secret(cover(path[strings.LastIndex(path, ".")+1:]))
			continue
		}
		data, err := readLimited(s.name, maxSecret)
		if err != nil {
			r.failAt(s.at, at, s.name, &bad{message: "cannot be read: " + reason(err), mend: "name a file that lookout's user can read"})
			continue
		}
		var b *bad
		if errors.As(s.to.set(string(data)), &b) {
			r.failAt(s.at, at, s.name, &bad{message: "the file's content " + b.message, mend: b.mend})
		}
		if worldReadable(s.name) {
			r.warn(s.at, at, "every user of this machine can read "+s.name, "chmod o-r it")
		}
	}
	for _, put := range r.entries {
		put()
	}
	if !r.sent && r.inline.file != "" && worldReadable(r.inline.file) {
		r.warn(r.inline, "", "this file holds a secret, and every user of this machine can read it", "chmod o-r it, or use the _file form of the setting")
	}
}

func worldReadable(name string) bool {
	if runtime.GOOS == "windows" {
		return false // its mode bits say nothing
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().Type() == fs.FileMode(0) && info.Mode().Perm()&0o004 != 0
}

// at is where the setting at path was given, or else what it stands in.
func (r *reader) at(path string) place {
	for path != "" {
		if p, ok := r.places[path]; ok {
			return p
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return place{file: r.file}
}

// given tells whether a setting, or one below it, was given, and where.
func (r *reader) given(key string) (place, bool) {
	var found []string
	for path := range r.places {
		if path == key || strings.HasPrefix(path, key+".") || strings.HasPrefix(path, key+"[") {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		return place{}, false
	}
	return r.places[slices.Min(found)], true
}

// item is the path of an entry of a list: that of the list when one entry stands in its place.
func (r *reader) item(list string, i int) string {
	at := fmt.Sprintf("%s[%d]", list, i)
	if _, ok := r.places[at]; !ok {
		return list
	}
	return at
}

// bad tells whether one of the settings has a problem of its own.
func (r *reader) bad(paths ...string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return r.failed[p] })
}
