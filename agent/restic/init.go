package restic

// init makes the repository. 0.14 says its id in text and shortened: ask CatConfig for it afterwards.
func (i *Invocation) init() {
	i.Args = []string{"init", "--json"}
}
