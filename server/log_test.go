package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Each line holds the word "canary" in the place of the secret.
var secretShapes = []string{
	"https://user:canary@host/path",
	"rest:https://user:canary@host:8000/repo",
	"https://canary@host/path",
	"postgres://u:p/canary/x@host/db",
	"s3:https://AKIA0123456789CANARYX:canary@s3.example.org/b",
	"sftp://user:canary@host//repo",
	"Authorization: Bearer canary.0123456789",
	"Bearer canary-0123456789-abcdef",
	"Basic canary0123456789==",
	"rme_canary0123456789",
	"rma_canary0123456789abcdefghijklmnopqrstuvwxyz",
	"RESTIC_PASSWORD=canary",
	"RESTIC_REST_PASSWORD=canary",
	"AWS_SECRET_ACCESS_KEY=canary",
	"AWS_SESSION_TOKEN=canary",
	"AZURE_ACCOUNT_KEY: canary",
	"B2_ACCOUNT_KEY='canary'",
	"AccountKey=canary==;EndpointSuffix=core",
	"RCLONE_CONFIG_X_PASS=canary",
	`{"password":"canary"}`,
	`{"repo_password": "canary"}`,
	"--password canary",
	"Cookie: canary",
	"__Host-restic_manager=canary; Path=/",
	"https://bucket.example.org/x?X-Amz-Signature=canary0123456789&X-Amz-Date=1",
	"https://x.blob.core.example.org/c?sv=1&sig=canary0123456789",
	"ghp_canary0123456789canary0123456789",
	"xoxb-canary-0123456789",
	"eyJhbGciOiJub25lIn0canary.canary0123.canary",
	"-----BEGIN OPENSSH PRIVATE KEY-----\ncanary/canary+canary\n-----END OPENSSH PRIVATE KEY-----",
	"metrics token = canary",
	"password= AZURE_ACCOUNT_KEY: canary",
	"token= RESTIC_PASSWORD: 'canary'",
}

type nested struct{ Text string }

func TestNoShapeOfSecretReachesTheLog(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		for _, secret := range secretShapes {
			var b bytes.Buffer
			log := newLogger(&b, "debug", format)
			log.Info(secret)
			log.Warn("x", "error", errors.New("get "+secret+": refused"))
			log.Error("x", "value", secret, slog.Group("g", "inner", secret), "list", []string{secret}, "struct", nested{secret}, "map", map[string]any{"k": secret})
			log.With("url", secret).WithGroup("g").Debug("x", "v", fmt.Errorf("wrapped: %w", errors.New(secret)))
			if strings.Contains(strings.ToLower(b.String()), "canary") {
				t.Errorf("%s: %q shows in\n%s", format, secret, b.String())
			}
		}
	}
}

func TestNamedSecretsAreHiddenWhateverTheyLookLike(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var b bytes.Buffer
		log := newLogger(&b, "info", format)
		for _, key := range []string{"password", "Password", "repo_password", "token", "metrics_token", "secret", "client_secret", "authorization", "Authorization", "cookie", "set-cookie", "api_key", "passphrase"} {
			log.Info("x", key, "canary", slog.Group("g", key, "canary"), key, []byte("canary"))
		}
		if strings.Contains(b.String(), "canary") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}

func TestWhatIsNoSecretStays(t *testing.T) {
	for _, text := range []string{
		"duty works again", "https://backup.example.org/api/hosts?status=online", "enrollment_token:0193b2c4-d5e6-7f8a-9b0c-d1e2f3a4b5c6", "host:0193b2c4",
		"3 tokens were made", "ann@example.org signed in", "listen 127.0.0.1:8080", "the password was changed", "/var/lib/restic-manager/secret.key",
	} {
		if got := redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestLinesStayLinesAndJSONStaysJSON(t *testing.T) {
	evil := "a\nb\r\x1b[31mred\x00\u0085\u009b31m\u202etxt.exe\u2066\u200e\xff\x80"
	for _, format := range []string{"text", "json"} {
		var b bytes.Buffer
		log := newLogger(&b, "info", format)
		log.Info(evil, evil, evil, "error", errors.New(evil), "bytes", []byte(evil))
		out := b.String()
		if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "\n") {
			t.Errorf("%s: got %d lines: %q", format, strings.Count(out, "\n"), out)
		}
		if i := strings.IndexFunc(strings.TrimSuffix(out, "\n"), steers); i >= 0 {
			t.Errorf("%s: %q steers the terminal in %q", format, out[i:i+3], out)
		}
		if format == "json" && !json.Valid(b.Bytes()) {
			t.Errorf("not JSON: %q", out)
		}
	}
}

func TestSecretsWithQuotesLeaveJSONWhole(t *testing.T) {
	for _, secret := range secretShapes {
		var b bytes.Buffer
		newLogger(&b, "info", "json").Info("x", "a", secret, "b", `{"password":"`+secret+`"}`, "c", `say \"`+secret+`\"`, "after", "still here")
		var line map[string]any
		if err := json.Unmarshal(b.Bytes(), &line); err != nil || line["after"] != "still here" {
			t.Errorf("%q: %v in %q", secret, err, b.String())
		}
	}
}

func TestTheLevelHolds(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(&b, "warn", "auto")
	log.Info("quiet")
	log.Warn("loud")
	if got := b.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"msg":"loud"`) {
		t.Errorf("got %q, want loud alone, as JSON", got)
	}
}
