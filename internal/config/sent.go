package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What stands in the place of a secret, and of an address that is one.
const (
	hidden    = "hidden"
	hiddenURL = "https://hidden.invalid"
)

// cover is what stands in the place of the secret of a key.
func cover(key string) string {
	if key == "url" {
		return hiddenURL
	}
	return hidden
}

// Hide returns the text of a configuration with a word in the place of each secret, and of each name of a file that holds one: it can
// be sent to a server that is to try its rules. The lines are those of the text as far as its comments and values go.
func Hide(data []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("the configuration is not YAML: %w", err)
	}
	if doc.Kind == 0 {
		return nil, nil // empty
	}
	hide(doc.Content[0], reflect.TypeFor[Config]())
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	return out.Bytes(), e.Close()
}

// hide replaces the secrets below n, a value of type t.
func hide(n *yaml.Node, t reflect.Type) {
	n = follow(n)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			hide(item, t.Elem())
		}
	case t.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			if key := follow(n.Content[i-1]).Value; !strings.EqualFold(key, "Content-Type") { // which says how a body is written
				hideValue(n.Content[i], t.Elem(), key)
			}
		}
	case isStruct(t) && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := follow(n.Content[i]).Value
			for _, f := range fields(t) {
				switch {
				case key == f.key:
					hideValue(n.Content[i+1], f.typ, key)
				case key == f.key+"_file" && f.typ == secretType:
					hideValue(n.Content[i+1], secretType, f.key)
				}
			}
		}
	}
}

func hideValue(n *yaml.Node, t reflect.Type, key string) {
	if t == secretType || t == reflect.TypeFor[SecretLine]() {
		*n = yaml.Node{Kind: yaml.ScalarNode, Value: cover(key), Line: n.Line}
		return
	}
	hide(n, t)
}

// Parse reads the text of a configuration that somebody sent, with the environment over it, and validates the whole as [Load] does. No
// file is read for it: a secret that stands in a file counts as set, no more.
func Parse(data []byte, env func(name string) (string, bool)) (*Config, []Warning, error) {
	r := newReader(env)
	r.sent = true
	c := &Config{}
	r.source = place{file: "the configuration"}
	if r.read(data, c) {
		r.validate(c)
	}
	if err := r.err(); err != nil {
		return nil, r.sorted(), err
	}
	return c, r.sorted(), nil
}
