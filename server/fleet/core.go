package fleet

// core is what a Store keeps in memory for jobs and polls. All of it can be lost: the tables are the truth.
type core struct {
	pulse   *pulse
	seats   *seats
	figures *figures
	beside  chan struct{} // a place for each stack of aside
}

func newCore(s *Store) core {
	return core{pulse: newPulse(), seats: newSeats(s.db.Hub), figures: newFigures(), beside: make(chan struct{}, stacksBeside)}
}
