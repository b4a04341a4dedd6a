package restic

// snapshots is the run of a job that only refreshes the list: it shows that the repository answers, and
// puts the newest snapshot per host and paths into the log. The list itself is ListSnapshots'.
func (i *Invocation) snapshots() {
	i.Args = []string{"snapshots", "--json", "--no-lock", "--latest=1"}
}

// listSnapshots prints every snapshot as one line of JSON.
func (i *Invocation) listSnapshots() {
	i.Args = []string{"snapshots", "--json", "--no-lock"}
}
