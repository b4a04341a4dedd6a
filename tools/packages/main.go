// Command packages makes the .deb and .rpm packages of server and agent from the built programs, as packaging/packages
// describes them. It is run from the root of the tree; make packages does that.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

var (
	names   = []string{"restic-manager", "restic-manager-agent"}
	formats = []string{"deb", "rpm"}
)

func main() {
	o := options{}
	flag.StringVar(&o.programs, "programs", "bin", "folder of restic-manager-linux-ARCH and agents/restic-manager-agent-linux-ARCH")
	flag.StringVar(&o.out, "out", "bin/packages", "folder to put the packages into")
	described := flag.String("version", "", "version, as git describe tells it")
	arch := flag.String("arch", "amd64 arm64", "architectures, in Go's names, with spaces between")
	flag.Parse()
	at, err := releaseTime(os.Getenv("SOURCE_DATE_EPOCH"))
	if err == nil {
		o.at, o.version, o.arches = at, packageVersion(*described, at), strings.Fields(*arch)
		err = o.makeAll()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

// releaseTime is the time that all files of the packages bear, so that the same tree makes the same packages.
func releaseTime(epoch string) (time.Time, error) {
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q; give the time of the commit in seconds: git log -1 --format=%%ct", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

type options struct {
	programs, out, version string
	at                     time.Time
	arches                 []string
}

func (o options) makeAll() error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		for _, arch := range o.arches {
			for _, format := range formats {
				path, err := o.make(name, arch, format)
				if err != nil {
					return fmt.Errorf("%s for %s as %s: %w", name, arch, format, err)
				}
				fmt.Println(path)
			}
		}
	}
	return nil
}

func (o options) make(name, arch, format string) (path string, err error) {
	known := map[string]string{"VERSION": o.version, "ARCH": arch, "PROGRAMS": o.programs}
	config, err := nfpm.ParseFileWithEnvMapping(filepath.Join("packaging/packages", name+".yaml"), func(key string) string { return known[key] })
	if err != nil {
		return "", err
	}
	info, err := config.Get(format)
	if err != nil {
		return "", err
	}
	info.MTime = o.at
	info = nfpm.WithDefaults(info)
	packager, err := nfpm.Get(format)
	if err != nil {
		return "", err
	}
	path = filepath.Join(o.out, packager.ConventionalFileName(info))
	// Under another name until it is whole: what has its name is a package.
	f, err := os.Create(path + ".new")
	if err != nil {
		return "", err
	}
	if err := packager.Package(info, f); err != nil {
		f.Close()
		os.Remove(path + ".new")
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}
