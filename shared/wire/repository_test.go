package wire

import (
	"strings"
	"testing"
	"unicode"
)

func TestRepositoryLocationsAreBroughtIntoOneForm(t *testing.T) {
	for in, want := range map[string]string{
		"/srv/repo":                           "/srv/repo",
		"/srv/./a/../repo/":                   "/srv/repo",
		"local:/srv/repo":                     "/srv/repo",
		"/srv/with blank":                     "/srv/with blank",
		"rest:https://backup.example:8000/h/": "rest:https://backup.example:8000/h/",
		"rest:http://10.0.0.1/":               "rest:http://10.0.0.1/",
		"rest:https://[2001:db8::1]:8000/h":   "rest:https://[2001:db8::1]:8000/h",
		"rest:https://[::1]/h":                "rest:https://[::1]/h",
		"rest:https://h/%61bc":                "rest:https://h/abc",
		"s3:s3.amazonaws.com/bucket/a/b":      "s3:s3.amazonaws.com/bucket/a/b",
		"s3://minio.local:9000/bucket":        "s3:minio.local:9000/bucket",
		"s3:https://minio.local:9000/bucket":  "s3:https://minio.local:9000/bucket",
		"b2:bucket:path/x":                    "b2:bucket:path/x",
		"b2:bucket":                           "b2:bucket:",
		"azure:container:/":                   "azure:container:/",
		"gs:bucket:/x":                        "gs:bucket:/x",
		"swift:container:/x":                  "swift:container:/x",
		"sftp:user@host:/srv/repo":            "sftp:user@host:/srv/repo",
		"sftp:host:repo":                      "sftp:host:repo",
		"sftp://user@host:2222//srv/repo":     "sftp://user@host:2222//srv/repo",
		"rclone:drive:backup/web1":            "rclone:drive:backup/web1",
		"rclone:on_disk:/srv/backup":          "rclone:on_disk:/srv/backup",
	} {
		got, err := CheckRepositoryURL(in)
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestRepositoryLocationsThatRunOrHideAreRefused(t *testing.T) {
	for _, in := range []string{
		"", "relative", "/", "//", "/..", "local:rel", "file:/x", "https://host/x", "RCLONE:x", "unknown:x",
		"rclone::webdav,url='http://x',bearer_token_command='touch x':x", "rclone:", "rclone:x", "rclone:x:", "rclone::x", "rclone:-x:y", "rclone:x:-y", "rclone:x,vfs_cache=y:z",
		"rclone::local:/x", "rclone:x y:z", "rclone:x:a b", "rclone:x:../y", "rclone:x:$(y)", "rclone:/x:y",
		"sftp:-oProxyCommand=touch x:/x", "sftp:-oProxyCommand=x@host:/x", "sftp:user@-oProxyCommand=x:/x",
		"sftp://-oProxyCommand=x/y", "sftp://user@-E:22/y", "sftp:-F/etc/x:/x", "sftp:host:-x", "sftp:host:", "sftp:host",
		"sftp:user:secret@host:/x", "sftp:host:/a;touch x", "sftp://host:99999/x", "sftp://host", "sftp://host/", "sftp:host:/a/../b",
		"rest:https://user:secret@host/x", "rest:https://user@host/x", "rest:ftp://host/x", "rest:host/x", "rest:https:host",
		"rest:https://host/x?y=z", "rest:https://host/x?", "rest:https://host/x#y", "rest:https://-host/x", "rest:https://ho st/x",
		"rest:https://host:0/x", "rest:https://host:http/x", "rest:https://[::1", "rest:https://[fe80::1%25eth0]/x", "rest:https://[x]/y",
		"rest:https://[::1]x/y", "rest:https://[::1]:99999/y", "rest:https://host/a/../b", "rest:https://host/%2e%2e/b", "rest:https://host/a b",
		"s3:bucket", "s3:-host/bucket", "s3:key:secret@host/bucket", "s3:host/", "s3:https://k:s@host/b", "s3:host/a/../b",
		"b2:-bucket:x", "b2::x", "gs:b:x y", "azure:b:$(x)", "b2:b:../x",
		"/srv/re\npo", "/srv/\x00", "/srv/\x7f", "/srv/\xff", "/srv/\u0085", strings.Repeat("/x", 4096),
	} {
		if got, err := CheckRepositoryURL(in); err == nil {
			t.Errorf("%q: got %q, want it refused", in, got)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows a password: %v", in, err)
		}
	}
}

// FuzzRepositoryURL holds what restic may be given: one form, nothing that begins like a flag, no login.
func FuzzRepositoryURL(f *testing.F) {
	for _, s := range []string{
		"/srv/repo", "local:/x", "rest:https://h:1/p", "rest:https://[::1]:1/p", "s3:h/b", "s3:https://h/b", "b2:b:p", "sftp:u@h:/p", "sftp://u@h:1//p",
		"rclone:x:y", "sftp:-oProxyCommand=x:/y", "rest:https://u:p@h/", "rest:https://h/%2e%2e/x", "azure:a:../b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := CheckRepositoryURL(in)
		if err != nil {
			if got != "" {
				t.Fatalf("%q: refused but got %q", in, got)
			}
			return
		}
		if again, err := CheckRepositoryURL(got); err != nil || again != got {
			t.Fatalf("%q: %q becomes %q, %v", in, got, again, err)
		}
		scheme, rest, _ := strings.Cut(got, ":")
		if strings.HasPrefix(got, "/") {
			if strings.Contains(got, "/../") || strings.HasSuffix(got, "/..") {
				t.Fatalf("%q: %q steps upwards", in, got)
			}
			return
		}
		switch scheme {
		case "rest", "s3", "b2", "azure", "gs", "swift", "sftp", "rclone":
		default:
			t.Fatalf("%q: scheme of %q", in, got)
		}
		login := strings.TrimPrefix(rest, "//")
		if strings.HasPrefix(login, "-") || strings.Contains(got, "@-") || strings.Contains(got, "//-") && scheme != "sftp" {
			t.Fatalf("%q: %q begins like a flag", in, got)
		}
		if strings.ContainsFunc(got, unicode.IsControl) || strings.ContainsAny(got, " '\"`$;|&<>\\,") {
			t.Fatalf("%q: %q has characters that programs read", in, got)
		}
	})
}
