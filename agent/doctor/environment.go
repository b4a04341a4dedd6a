package doctor

import (
	"context"
	"strings"
	"time"
)

// proxyVariables are what the agent looks at, in both spellings.
var proxyVariables = []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"}

// ServiceProxy is the proxy variables that the agent's systemd unit has and this process lacks: who asks a doctor by hand
// has another environment than the agent, and would be told of another way. It is empty where this process has any of
// its own.
func ServiceProxy(ctx context.Context, o Outside) map[string]string {
	o.complete()
	for _, name := range proxyVariables {
		if o.Env(name) != "" {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := o.Run(ctx, "systemctl", "show", "--property=Environment", "--value", unit)
	if err != nil {
		return nil
	}
	found := map[string]string{}
	for _, word := range strings.Fields(out) {
		name, value, _ := strings.Cut(strings.Trim(word, `"`), "=")
		for _, known := range proxyVariables {
			if name == known && value != "" {
				found[name] = value
			}
		}
	}
	return found
}
