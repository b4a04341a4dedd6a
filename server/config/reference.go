package config

import (
	"fmt"
	"strings"
)

// Reference is the table of all settings in Markdown, as in docs/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString("| flag | environment | key in the file | default | meaning |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range Known() {
		flag, env, key := "`--"+s.Name, "`"+s.Env()+"`", "`"+s.Key()+"`"
		if s.Value != "" {
			flag += " " + s.Value
		}
		flag += "`"
		if s.NoFlag {
			flag = "none"
		}
		if s.Name == "database" {
			env += ", `DATABASE_URL`"
		}
		if s.Secret {
			env, key = env+", or with `_FILE` behind it", key+", `"+s.Key()+"_file`"
		}
		def := ""
		if s.Default != "" {
			def = "`" + s.Default + "`"
		} else if s.Value == "" && !s.NoFlag {
			def = "off"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", flag, env, key, def, strings.ReplaceAll(s.Help, "|", `\|`))
	}
	return b.String()
}
