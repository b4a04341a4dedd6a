package restic

const maxMessage = 1000

func clean(s string, limit int) string { return s }
