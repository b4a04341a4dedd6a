// Package frontend holds the built dashboard, embedded into the server's binary.
package frontend
