package api

import (
	"encoding/json"
	"strings"
	"testing"

	"restic-manager/server/fault"
)

func TestCheckJSON(t *testing.T) {
	deep := strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40)
	for name, c := range map[string]struct {
		body string
		want fault.Kind // Internal: taken
	}{
		"object":                         {`{"a":1,"b":[true,null,-1.5e3,"x"],"c":{"a":{}}}`, fault.Internal},
		"spaces":                         {" {\n\t\"a\" : [ ] , \"b\" : { } }\r\n", fault.Internal},
		"escapes":                        {`{"a":"\"\\\/ü\u00fc"}`, fault.Internal},
		"pair of surrogates":             {`{"a":"\ud83d\ude00 and 😀"}`, fault.Internal},
		"escaped backslash before u":     {`{"a":"\\ud800"}`, fault.Internal},
		"same key in different objects":  {`{"a":{"x":1},"b":{"x":1}}`, fault.Internal},
		"newline below spec":             {`{"spec":{"paths":["/a\nb"]}}`, fault.Internal},
		"newline below args":             {`{"args":["/a\nb\u0001"]}`, fault.Internal},
		"scalar":                         {`7`, fault.Internal},
		"empty":                          {``, fault.Malformed},
		"blank":                          {" \n", fault.Malformed},
		"trailing value":                 {`{"a":1}{"b":1}`, fault.Malformed},
		"trailing brace":                 {`{"a":1}}`, fault.Malformed},
		"cut":                            {`{"a":`, fault.Malformed},
		"comment":                        {`{"a":1}//x`, fault.Malformed},
		"key twice":                      {`{"a":1,"b":2,"a":3}`, fault.Malformed},
		"key twice, escaped":             {`{"role":1,"r\u006fle":2}`, fault.Malformed},
		"key twice, in another case":     {`{"role":1,"Role":2}`, fault.Malformed},
		"key twice, deep":                {`{"spec":{"paths":[{"x":1,"x":2}]}}`, fault.Malformed},
		"too deep":                       {deep, fault.Malformed},
		"not UTF-8":                      {"{\"a\":\"\xff\"}", fault.Malformed},
		"overlong UTF-8":                 {"{\"a\":\"\xc0\x80\"}", fault.Malformed},
		"raw NUL":                        {"{\"a\":\"\x00\"}", fault.Malformed},
		"NUL":                            {`{"a":"x\u0000"}`, fault.Invalid},
		"NUL below spec":                 {`{"spec":{"paths":["/\u0000"]}}`, fault.Invalid},
		"NUL in a key":                   {`{"a\u0000":1}`, fault.Invalid},
		"control":                        {`{"a":"\u001b[2J"}`, fault.Invalid},
		"DEL":                            {`{"a":"\u007f"}`, fault.Invalid},
		"C1 control":                     {`{"a":"\u0085"}`, fault.Invalid},
		"newline":                        {`{"a":"x\ny"}`, fault.Invalid},
		"newline below a nested spec":    {`{"x":{"spec":"\n"}}`, fault.Invalid},
		"high surrogate alone":           {`{"a":"\ud800"}`, fault.Invalid},
		"low surrogate alone":            {`{"a":"\udc00"}`, fault.Invalid},
		"high surrogate before a letter": {`{"a":"\ud800\u0041"}`, fault.Invalid},
		"surrogates the wrong way round": {`{"a":"\udc00\ud800"}`, fault.Invalid},
		"lone surrogate below spec":      {`{"spec":{"paths":["/\ud800"]}}`, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkJSON([]byte(c.body))
			switch f := fault.As(err); {
			case err == nil && c.want != fault.Internal:
				t.Errorf("%q was taken, want kind %d", c.body, c.want)
			case err != nil && (f == nil || f.Kind != c.want):
				t.Errorf("%q: got %v, want kind %d", c.body, err, c.want)
			}
		})
	}
}

// FuzzCheckJSON looks for a panic, and for a body that is taken and means two things.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":"\ud83d\ude00"}]}`, `{"a":"\\\"","A":1}`, `[[],{},"",0,-1e9,null]`, `{"":{}}`, "\"\x7f\"", `"\u"`, `{"a":1,}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if checkJSON(body) != nil {
			return
		}
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Errorf("%q was taken and does not decode: %v", body, err)
		}
		if again, err := json.Marshal(v); err == nil && strings.Contains(string(again), `\u0000`) {
			t.Errorf("%q was taken and holds NUL", body)
		}
	})
}
