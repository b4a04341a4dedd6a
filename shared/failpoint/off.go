//go:build !failpoint

package failpoint

// Hit does nothing in this build.
func Hit(string) error { return nil }

// Environment is empty in this build.
func Environment() []string { return nil }
