package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lookoutlog/lookout/internal/auth"
)

// object is a JSON object.
type object = map[string]any

var description = sync.OnceValue(func() object {
	var o object
	if err := json.Unmarshal(openapi, &o); err != nil {
		panic(err)
	}
	return o
})

// at returns what a pointer such as #/components/schemas/Event leads to.
func at(pointer string) object {
	o := description()
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
		o = get(o, part)
	}
	return o
}

// get returns a member that is an object, with a reference followed; nil when there is none.
func get(o object, name string) object {
	v, _ := o[name].(object)
	return resolve(v)
}

func resolve(o object) object {
	if pointer, ok := o["$ref"].(string); ok {
		return at(pointer)
	}
	return o
}

// checker holds values to schemas of the kind that the description uses. What a schema of an object does not name is an error.
type checker struct {
	lax bool // members may be missing, and "…" stands for any value: an example of the docs
}

func (c checker) check(schema object, v any, path string) error {
	if schema = resolve(schema); len(schema) == 0 {
		return nil // of any kind
	}
	if c.lax && v == "…" {
		return nil
	}
	if any, ok := schema["anyOf"].([]any); ok {
		var last error
		for _, s := range any {
			if last = c.check(s.(object), v, path); last == nil {
				return nil
			}
		}
		return last
	}
	kinds, ok := schema["type"].([]any)
	if !ok && schema["type"] != nil {
		kinds = []any{schema["type"]}
	}
	if kinds != nil && !slices.ContainsFunc(kinds, func(k any) bool { return isKind(v, k.(string)) }) {
		return fmt.Errorf("%s: %v is no %v", path, v, kinds)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%s: %v is none of %v", path, v, enum)
	}
	switch v := v.(type) {
	case []any:
		items, _ := schema["items"].(object)
		for i, item := range v {
			if err := c.check(items, item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case object:
		for _, name := range texts(schema["required"]) {
			if _, ok := v[name]; !ok && !c.lax {
				return fmt.Errorf("%s: there is no %s", path, name)
			}
		}
		for name, member := range v {
			of, described := get(schema, "properties")[name].(object)
			if !described {
				switch more := schema["additionalProperties"].(type) {
				case object:
					of = more
				case bool:
					if !more {
						return fmt.Errorf("%s: %s must not be there", path, name)
					}
				default:
					return fmt.Errorf("%s: %s is not described", path, name)
				}
			}
			if err := c.check(of, member, path+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func isKind(v any, kind string) bool {
	switch v := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && v == math.Trunc(v)
	case []any:
		return kind == "array"
	case object:
		return kind == "object"
	}
	return false
}

func texts(v any) (names []string) {
	values, _ := v.([]any)
	for _, name := range values {
		names = append(names, name.(string))
	}
	return names
}

// described returns the path of the description that a request's path is of, "" when there is none.
func described(path string) string {
	paths := get(description(), "paths")
	if paths[path] != nil {
		return path
	}
	for pattern := range paths {
		if strings.Contains(pattern, anyPart) && (&route{pattern: pattern}).fits(path) {
			return pattern
		}
	}
	for pattern := range paths {
		if prefix, _, ok := strings.Cut(pattern, "{"); ok && strings.HasPrefix(path, prefix) && path != prefix {
			return pattern
		}
	}
	return ""
}

// conforms holds an answer to the description. What is not part of it may only be an error.
func conforms(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	path := described(r.URL.Path)
	operation := get(get(get(description(), "paths"), path), strings.ToLower(r.Method))
	if operation == nil || w.Header().Get("Content-Encoding") != "" {
		return
	}
	where := fmt.Sprintf("%s %s, %d", r.Method, path, w.Code)
	answer := get(get(operation, "responses"), fmt.Sprint(w.Code))
	if answer == nil {
		t.Errorf("%s: the status is not described", where)
		return
	}
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	content := get(answer, "content")
	if content == nil && w.Body.Len() == 0 {
		return
	}
	media := get(content, kind)
	if media == nil {
		t.Errorf("%s: %q is not described", where, kind)
		return
	}
	schema := get(media, "schema")
	if line := get(media, "x-line"); line != nil {
		schema = line
	} else if kind != "application/json" {
		return
	}
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	for {
		var v any
		switch err := d.Decode(&v); {
		case err == io.EOF:
			return
		case err != nil:
			t.Errorf("%s: %v in %s", where, err, w.Body)
			return
		}
		if err := (checker{}).check(schema, v, ""); err != nil {
			t.Errorf("%s: %v in %s", where, err, w.Body)
		}
	}
}

// Every route, method and role that is mounted is described, and the reverse.
func TestDescribedRoutes(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.UI = http.NotFoundHandler() })
	reserved := map[string]bool{}
	for _, l := range later {
		reserved[l.path] = true
	}
	var mounted, said []string
	for _, rt := range slices.Concat(slices.Collect(maps.Values(f.exact)), f.templates, f.prefixes) {
		if reserved[rt.pattern] {
			continue
		}
		path := rt.pattern
		if path != "/" && strings.HasSuffix(path, "/") {
			path = described(path + "x")
		}
		role := map[auth.Role]string{public: "none", auth.Anyone: "any", auth.Read: "read", auth.Write: "write", auth.Admin: "admin"}[rt.role]
		methods := rt.methods
		if rt.pattern == "/" { // it looks at the method itself
			methods = []string{"GET"}
		}
		for _, m := range methods {
			if m != http.MethodHead { // as GET
				mounted = append(mounted, m+" "+path+" "+role)
			}
		}
	}
	for path, o := range get(description(), "paths") {
		for method, operation := range o.(object) {
			said = append(said, fmt.Sprintf("%s %s %s", strings.ToUpper(method), path, operation.(object)["x-role"]))
		}
	}
	slices.Sort(mounted)
	slices.Sort(said)
	if !slices.Equal(mounted, said) {
		t.Errorf("mounted and not described: %q\ndescribed and not mounted: %q", without(mounted, said), without(said, mounted))
	}
}

// without returns what is in a and not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// Every parameter that a handler takes is described, and the reverse: a handler that is given another one lists its own.
func TestDescribedParameters(t *testing.T) {
	f := newFixture(t)
	for path, o := range get(description(), "paths") {
		for method, v := range o.(object) {
			operation := v.(object)
			var said, needed []string
			parameters, _ := operation["parameters"].([]any)
			for _, p := range parameters {
				if p := resolve(p.(object)); p["in"] == "query" {
					said = append(said, p["name"].(string))
					if p["required"] == true {
						needed = append(needed, p["name"].(string))
					}
				}
			}
			for kind, media := range get(get(operation, "requestBody"), "content") {
				if kind == "application/x-www-form-urlencoded" {
					said = slices.Collect(maps.Keys(get(get(media.(object), "schema"), "properties")))
				}
			}
			target := strings.NewReplacer("{id}", "1", "{name}", "x", "{file}", "x").Replace(path)
			if method == "get" && path != "/api/v1/tail" { // which does not end
				w, a := f.do("GET", target, ""), new(answer)
				if missing := json.Unmarshal(w.Body.Bytes(), a) == nil && w.Code == 400; missing != (len(needed) > 0) || missing && !slices.Contains(needed, a.Error.Field) {
					t.Errorf("GET %s needs %q, and says without: %d %s", path, needed, w.Code, w.Body)
				}
			}
			w := f.do(strings.ToUpper(method), target+"?no_such_parameter=1", "")
			var taken []string
			if a := new(answer); json.Unmarshal(w.Body.Bytes(), a) == nil && w.Code == 400 {
				if names, ok := strings.CutPrefix(a.Error.Mend, takes); ok && names != "no parameters" {
					taken = strings.Split(names, ", ")
				}
			}
			slices.Sort(said)
			slices.Sort(taken)
			if !slices.Equal(said, taken) {
				t.Errorf("%s %s: taken and not described: %q, described and not taken: %q (%d)", method, path, without(taken, said), without(said, taken), w.Code)
			}
		}
	}
}

// Every JSON example of docs/api.md is an answer that is described, or a body that is taken, as far as it shows one.
func TestDocsExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var schemas []object
	for _, o := range get(description(), "paths") {
		for _, operation := range o.(object) {
			bodies := []object{get(operation.(object), "requestBody")}
			for _, answer := range get(operation.(object), "responses") {
				bodies = append(bodies, resolve(answer.(object)))
			}
			for _, body := range bodies {
				for _, media := range get(body, "content") {
					for _, name := range []string{"schema", "x-line"} {
						if s := get(media.(object), name); s != nil && s["type"] != "string" && s["additionalProperties"] != true {
							schemas = append(schemas, s)
						}
					}
				}
			}
		}
	}
	n := 0
	for _, example := range examples(string(text)) {
		d := json.NewDecoder(strings.NewReader(example))
		for {
			var v any
			err := d.Decode(&v)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Errorf("%v in %s", err, example)
				break
			}
			n++
			var all []string
			if !slices.ContainsFunc(schemas, func(s object) bool {
				err := checker{lax: true}.check(s, v, "")
				all = append(all, fmt.Sprint(err))
				return err == nil
			}) {
				t.Errorf("%s is nothing that is described", example)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d examples were found", n)
	}
}

var (
	inline = regexp.MustCompile("`(\\{\"[^`]*\\})`")
	code   = regexp.MustCompile("(?ms)^```\\w*\n(.*?)^```|((?:^    [^\n]*\n)+)")
)

// examples returns the JSON of a text: in quotes, and in blocks, without what stands before it on its line.
func examples(text string) (list []string) {
	for _, m := range inline.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		var b strings.Builder
		for line := range strings.Lines(m[1] + m[2]) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "200 ")
			if b.Len() > 0 || strings.HasPrefix(line, "{") {
				b.WriteString(line + "\n")
			}
		}
		list = append(list, b.String())
	}
	for i := range list {
		list[i] = strings.NewReplacer(",…}", "}", ",…]", "]", "{…}", "{}", "[…]", "[]", ":…", `:"…"`).Replace(list[i])
	}
	return list
}
