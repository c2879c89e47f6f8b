//go:build ignore

// Writes lkpy/server/livekit_keys.txt: every key of livekit-server's configuration with the kind of
// its value and its default as JSON. Copy it below cmd/ of a checkout of livekit-server of the
// version that is measured and run it there.
package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"github.com/livekit/livekit-server/pkg/config"
	"github.com/livekit/livekit-server/version"
)

var (
	duration = reflect.TypeFor[time.Duration]()
	message  = reflect.TypeFor[proto.Message]()
	fromYAML = reflect.TypeFor[yaml.Unmarshaler]()
	fromText = reflect.TypeFor[encoding.TextUnmarshaler]()
	lines    []string
)

func main() {
	walk(reflect.ValueOf(config.DefaultConfig), "")
	slices.Sort(lines)
	fmt.Println("livekit-server", version.Version)
	for _, line := range lines {
		fmt.Println(line)
	}
}

func add(path, kind string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	lines = append(lines, fmt.Sprintf("%s %s %s", path, kind, text))
}

func walk(value reflect.Value, path string) {
	if value.Kind() == reflect.Pointer {
		if value.IsNil() {
			value = reflect.Zero(value.Type().Elem())
			if k := kind(value.Type()); k != "struct" {
				add(path, k, nil)
				return
			}
		} else {
			value = value.Elem()
		}
	}
	switch k := kind(value.Type()); k {
	case "struct":
		if value.NumField() == 0 {
			add(path, "section", nil)
		}
		for i := range value.NumField() {
			field := value.Type().Field(i)
			name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			switch {
			case !field.IsExported() || name == "-":
			case options == "inline":
				walk(value.Field(i), path)
			default:
				if name == "" {
					name = strings.ToLower(field.Name)
				}
				walk(value.Field(i), strings.TrimPrefix(path+"."+name, "."))
			}
		}
	case "list":
		add(path, k, plain(value))
		if element := value.Type().Elem(); kind(element) == "struct" {
			walk(reflect.Zero(element), path+"[]")
		}
	default:
		add(path, k, plain(value))
	}
}

func kind(of reflect.Type) string {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	pointer := reflect.PointerTo(of)
	switch {
	case of == duration:
		return "duration"
	case pointer.Implements(message):
		return "map"
	case pointer.Implements(fromYAML), pointer.Implements(fromText):
		return "str"
	}
	switch of.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "str"
	case reflect.Float32, reflect.Float64:
		return "float"
	case reflect.Slice:
		return "list"
	case reflect.Map:
		return "map"
	case reflect.Struct:
		return "struct"
	default:
		return "int"
	}
}

// plain is the value as a configuration file would have it, nil for an empty one.
func plain(value reflect.Value) any {
	if value.IsZero() || (value.Kind() == reflect.Slice || value.Kind() == reflect.Map) && value.Len() == 0 {
		return nil
	}
	text, err := yaml.Marshal(value.Interface())
	if err != nil {
		panic(err)
	}
	var read any
	if err := yaml.Unmarshal(text, &read); err != nil {
		panic(err)
	}
	return withTextKeys(read)
}

// withTextKeys is a value that JSON can say: layers are numbers in YAML.
func withTextKeys(value any) any {
	switch value := value.(type) {
	case map[any]any:
		named := map[string]any{}
		for name, inner := range value {
			named[fmt.Sprint(name)] = withTextKeys(inner)
		}
		return named
	case map[string]any:
		for name, inner := range value {
			value[name] = withTextKeys(inner)
		}
	case []any:
		for i, inner := range value {
			value[i] = withTextKeys(inner)
		}
	}
	return value
}
