// Package frontend holds the built dashboard, embedded into the server's binary.
package frontend

import (
	"embed"
	"io/fs"
)

//go:embed all:dist unbuilt/index.html
var files embed.FS

// Dist is the built dashboard: index.html, and below assets what never changes under its name. In a binary that was
// built without it (go build alone, without make build), it is one page that says so.
func Dist() fs.FS {
	folder := "dist"
	if _, err := fs.Stat(files, "dist/index.html"); err != nil {
		folder = "unbuilt"
	}
	dist, err := fs.Sub(files, folder)
	if err != nil {
		panic(err) // the name is valid
	}
	return dist
}
