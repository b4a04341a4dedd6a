package restic

// catConfig prints the repository's configuration, which holds its id.
func (i *Invocation) catConfig() {
	i.Args = []string{"cat", "--json", "--no-lock", "--", "config"}
}
