package vault

import "testing"

func TestLocations(t *testing.T) {
	for in, want := range map[string]string{
		"/srv/backup":                          "/srv/backup",
		"/srv//backup/{host}/":                 "/srv/backup/{host}",
		"local:/srv/{host}":                    "/srv/{host}",
		"rest:https://backup.example/{host}/":  "rest:https://backup.example/{host}/",
		"rest:https://backup.example/a-{host}": "rest:https://backup.example/a-{host}",
		"s3:https://s3.example/bucket/{host}":  "s3:https://s3.example/bucket/{host}",
		"s3:s3.example/bucket/{host}":          "s3:s3.example/bucket/{host}",
		"b2:bucket:{host}":                     "b2:bucket:{host}",
		"sftp:user@backup.example:/{host}":     "sftp:user@backup.example:/{host}",
		"sftp://user@backup.example//x/{host}": "sftp://user@backup.example//x/{host}",
	} {
		if got, err := checkLocation(in); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "{host}", "relative/{host}", "rest:https://{host}.example/x", "rest:https://{host}/x", "b2:{host}:x", "sftp:{host}@backup.example:/x", "sftp:user@{host}:/x",
		"/srv/{host}/{host}", "/srv/{host}/..", "/srv/{host}/../..", "/srv/~host~/{host}", "rest:https://u:p@backup.example/{host}", "rclone:{host}:x", "rclone:x,y={host}:z", "/srv/{HOST}\x00"} {
		if got, err := checkLocation(in); err == nil {
			t.Errorf("%s: got %q, want it refused", in, got)
		}
	}
}

func TestNamesBecomeOneSafeFolder(t *testing.T) {
	for in, want := range map[string]string{
		"web1": "web1", "Web 1.example": "Web-1.example", "a/../b": "a-..-b", "..": "", ".": "", "-rf": "rf", "日本": "", "büro 7": "b-ro-7", "a\\b": "a-b", ".hidden": "hidden", "a_b": "a_b", "x~y": "x-y",
	} {
		if got := folder(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTheFolderIsFoundAgain(t *testing.T) {
	for _, c := range []struct{ setting, location, want string }{
		{"rest:https://a/{host}/x", "rest:https://a/web/x", "web"},
		{"/srv/{host}", "/srv/web", "web"},
		{"/srv/{host}", "/other/web", ""},
		{"/srv/all", "/srv/all", ""},
		{"/srv/{host}/x", "/srv/x", ""},
	} {
		if got := folderIn(c.setting, c.location); got != c.want {
			t.Errorf("%s in %s: got %q, want %q", c.location, c.setting, got, c.want)
		}
	}
}
