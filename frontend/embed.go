// Package frontend holds the built pages, embedded into the server's binary.
package frontend

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var files embed.FS

// Dist is the built frontend: index.html, and below assets what never changes under its name.
func Dist() fs.FS {
	dist, err := fs.Sub(files, "dist")
	if err != nil {
		panic(err) // the name is valid
	}
	return dist
}
