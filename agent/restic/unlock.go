package restic

// unlock removes stale locks. Without --json every version says how many, from 0.19 on with it none does.
func (i *Invocation) unlock() {
	i.Args = []string{"unlock"}
}

// listLocks prints the ids of all locks, one a line.
func (i *Invocation) listLocks() {
	i.Args = []string{"list", "--no-lock", "--", "locks"}
}
