package mutant

const (
	agentRules  = "server/fleet/job/agent.go"
	applyRules  = "server/fleet/job/apply.go"
	offerRules  = "server/fleet/job/offer.go"
	sweepRules  = "server/fleet/job/sweep.go"
	logRules    = "server/fleet/job/log.go"
	jobRules    = "server/fleet/job/job.go"
	bootRules   = "server/fleet/boot/boot.go"
	stepRules   = "agent/runner/step.go"
	eventRules  = "agent/runner/event.go"
	storeFile   = "agent/spool/store.go"
	folderFile  = "agent/spool/folder.go"
	sealedFile  = "agent/spool/sealed.go"
	claimFile   = "agent/supervise/claim.go"
	virtualSide = "simulation/supervisor.go"
	planRules   = "agent/planner/plan.go"
	bookRules   = "agent/planner/book.go"
	holdRules   = "agent/planner/hold.go"
)

// All are the rules of docs/protocol.md that can be taken out.
var All = []Mutant{
	// Taking a job.
	{Name: "accept-any-state", Rule: "only a queued job is accepted", Edits: []Edit{{agentRules,
		"case j.State != wire.StateQueued:\n\t\treturn j, Effects{}, jobGone(\"it is", "case false:\n\t\treturn j, Effects{}, jobGone(\"it is"}}},
	{Name: "accept-old-delivery", Rule: "an accept of a delivery that is over takes nothing", Edits: []Edit{{agentRules,
		"case j.Delivery != e.Delivery:", "case false:"}}},
	{Name: "accept-not-idempotent", Rule: "the same lease gets the same answer to accept", Edits: []Edit{{agentRules,
		"case j.Active() && j.Lease == e.Lease:\n\t\treturn renew(j, now), Effects{}, nil\n\tcase j.State != wire.StateQueued:", "case j.State != wire.StateQueued:"}}},
	{Name: "accept-held", Rule: "accept looks whether the repository is held", Edits: []Edit{{agentRules,
		"case e.Held:\n\t\treturn j, Effects{}, busy(wire.ProblemRepositoryBusy, retryRepository", "case false:\n\t\treturn j, Effects{}, busy(wire.ProblemRepositoryBusy, retryRepository"}}},
	{Name: "accept-busy-lane", Rule: "accept looks whether the lane is free", Edits: []Edit{{agentRules,
		"case e.LaneBusy:\n\t\treturn j, Effects{}, busy(wire.ProblemHostBusy, retryHost, \"another job of this host is under way\")\n\tcase e.Held:", "case false:\n\t\treturn j, Effects{}, busy(wire.ProblemHostBusy, retryHost, \"another job of this host is under way\")\n\tcase e.Held:"}}},
	{Name: "accept-under-alarm", Rule: "no new job under a clone alarm", Edits: []Edit{{agentRules, "case e.Alarm:", "case false:"},
		{offerRules, "if !v.Newest || v.Closed {", "if !v.Newest {"}}},
	{Name: "offer-held", Rule: "a job is not offered while its repository is held", Edits: []Edit{{offerRules,
		"if r.Held(hold) {", "if r.Held(hold) && false {"}}},
	{Name: "offer-any-process", Rule: "only the newest process is offered jobs", Edits: []Edit{{offerRules,
		"if !v.Newest || v.Closed {", "if v.Closed {"}}},
	{Name: "exclusive-starves", Rule: "no shared job passes an older exclusive one", Edits: []Edit{{offerRules,
		"if w.Number < j.Number && w.yields(now) {", "if w.Number < j.Number && w.yields(now) && false {"}}},
	{Name: "create-not-durable", Rule: "the folder is durable before accept", Edits: []Edit{{storeFile,
		"\t\treturn s.disk.SyncDir(s.path(jobsDir))\n\t}()", "\t\treturn nil\n\t}()"}}},

	// Starting it.
	{Name: "start-any-nonce", Rule: "a running job starts again for the same nonce only", Edits: []Edit{{agentRules,
		"case j.State == wire.StateRunning && j.StartNonce == e.Nonce && e.Nonce != \"\":", "case j.State == wire.StateRunning:"}}},
	{Name: "start-any-lease", Rule: "start asks for the lease", Edits: []Edit{{agentRules,
		"func start(j Job, e Start, now time.Time) (Job, Effects, error) {\n\tswitch {\n\tcase e.Lease == \"\" || j.Lease != e.Lease:", "func start(j Job, e Start, now time.Time) (Job, Effects, error) {\n\tswitch {\n\tcase false:"}}},
	{Name: "start-held", Rule: "start looks whether the repository, just learnt, is held", Edits: []Edit{{agentRules,
		"\t\tif e.Held {", "\t\tif false {"}}},
	{Name: "hold-by-host", Rule: "holds are by the repository's id", Edits: []Edit{{jobRules,
		"\tif repositoryID == \"\" {\n\t\treturn HostKey(hostID)\n\t}\n\treturn repositoryID", "\treturn HostKey(hostID)"},
		{agentRules, "j.RepositoryID, j.HoldKey = e.RepositoryID, e.RepositoryID", "j.RepositoryID = e.RepositoryID"}}},
	{Name: "start-not-asked", Rule: "the agent asks for the start before it runs anything", Edits: []Edit{{stepRules,
		"\ts.Doing = Starting\n\treturn s, append(out, Save{Durable: s.Durable}, Start{Nonce: s.Nonce, RepositoryID: s.RepositoryID})",
		"\ts.Started, s.Launched, s.LaunchedAt = true, true, time.Now()\n\ts.Doing = Launching\n\treturn s, append(out, Save{Durable: s.Durable}, Launch{Nonce: s.Nonce})"}}},
	{Name: "nonce-not-durable", Rule: "the nonce is durable before it is sent", Edits: []Edit{{stepRules,
		"return s, append(out, Save{Durable: s.Durable}, Start{Nonce: s.Nonce", "return s, append(out, Start{Nonce: s.Nonce"}}},
	{Name: "claim-both", Rule: "the first claim wins", Edits: []Edit{{claimFile, "\tif !won {\n\t\treturn sayLost, ErrClaimed\n\t}\n", "\t_ = won\n"}}},
	{Name: "claim-old-nonce", Rule: "a supervisor claims for the folder's present nonce only",
		Stays: "who gives a nonce up first takes its claim away; it is there for a folder made anew under a supervisor that is late", Edits: []Edit{{claimFile,
			"if j.Nonce != c.Nonce || j.Phase", "if j.Phase"}}},
	{Name: "no-abandon", Rule: "a start whose supervisor was never seen is decided by the claim", Edits: []Edit{{stepRules,
		"return s.Recovered && s.Phase != wire.PhaseOffered && s.Phase != wire.PhaseAccepted", "return false"}}},
	{Name: "run-known", Rule: "an id in the ledger, or whose result is kept, is never run again", Edits: []Edit{
		{"agent/spool/ledger.go", "\t\tif in {\n", "\t\tif in && false {\n"},
		{storeFile, "\t_, kept, err := s.keptName(id)\n\treturn kept, err\n", "\treturn false, nil\n"}}},
	{Name: "no-ledger", Rule: "an id in the ledger is never run again",
		Stays: "for 7 days the kept result says the same; the ledger says it for ever", Edits: []Edit{{"agent/spool/ledger.go",
			"\t\tif in {\n", "\t\tif in && false {\n"}}},
	{Name: "ledger-after-restic", Rule: "the ledger is entered before restic runs", Edits: []Edit{{virtualSide,
		"\tif err := s.folder.Enter(); err != nil {", "\tif err := error(nil); err != nil {"}}},
	{Name: "forget-kept-finish", Rule: "an id whose result is kept is known",
		Stays: "the ledger says the same; it is there for both of its files being lost", Edits: []Edit{{storeFile,
			"\t_, kept, err := s.keptName(id)\n\treturn kept, err\n", "\treturn false, nil\n"}}},

	// Recovering.
	{Name: "resume-same-lease", Rule: "resume rotates the lease",
		Stays: "start's nonce, the log's cursor and the result's sum make late messages of an earlier process harmless too; it tells a copy of a disk that it is not alone", Edits: []Edit{{stepRules,
			"\t\ts.Lease = random\n\t\ts.Leases = append(s.Leases, random)\n", ""}}},
	{Name: "resume-not-durable", Rule: "the new lease is durable before it is sent", Edits: []Edit{{stepRules,
		"\t\tout = append(out, Save{Durable: s.Durable})\n\t}\n\tlast :=", "\t}\n\tlast :="}}},
	{Name: "resume-newest-only", Rule: "resume is tried with each lease the job ever had", Edits: []Edit{{stepRules,
		"s.Tries = tries(s.Leases)\n", "s.Tries = tries(s.Leases[len(s.Leases)-1:])\n"}}},
	{Name: "resume-downwards", Rule: "a round of resumes goes upwards", Rare: true, Edits: []Edit{{stepRules,
		"\tif newest := len(all) - 1; newest > 0 {", "\tif newest := len(all) - 1; false {"}}},
	{Name: "folders-not-durable", Rule: "folders that are there are made durable too", Rare: true, Edits: []Edit{{"agent/spool/disk.go",
		"if err := d.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {", "if err := error(nil); err != nil {"}}},
	{Name: "names-not-durable", Rule: "what a killed agent left is durable before it is built on", Edits: []Edit{{storeFile,
		"if err := s.settleNames(names); err != nil {", "if false {"}}},
	{Name: "unborn-damaged", Rule: "what a killed Create left goes away", Edits: []Edit{{storeFile,
		"if s.unborn(name) && s.Remove(name) == nil {", "if false {"}}},
	{Name: "group-not-ended", Rule: "a restic without supervisor is ended before the job is", Edits: []Edit{{stepRules,
		"case s.Launched && !s.ended() && s.Claim == ClaimGone && s.Group:", "case false:"}}},
	{Name: "drop-any-lease", Rule: "drop is obeyed for the present lease only",
		Stays: "the server drops jobs whole, and an agent hears no answer to an older poll; it costs one comparison should either change", Edits: []Edit{{eventRules,
			"if e.Lease != s.Lease || s.Orphan != \"\" || s.Silent() {", "if s.Orphan != \"\" || s.Silent() {"}}},

	// Time.
	{Name: "no-requeue", Rule: "what never started is queued again when its lease runs out", Edits: []Edit{{sweepRules,
		"case j.State == wire.StateAccepted && !now.Before(j.LeaseExpiresAt),\n\t\tj.State", "case j.State"}}},
	{Name: "requeue-started", Rule: "what started is never queued again", Edits: []Edit{{sweepRules,
		"\tif j.State == wire.StateAccepted {\n\t\tj, fx := requeue", "\tif j.Active() {\n\t\tj, fx := requeue"}}},
	{Name: "lost-at-once", Rule: "a silent job is lost after 7 days, not with its lease", Edits: []Edit{
		{sweepRules, "!j.DisconnectedSince.IsZero() && silence >= wire.LostAfter:", "!j.DisconnectedSince.IsZero():"},
		{sweepRules, "j.DisconnectedSince.IsZero() || now.Sub(j.HeardAt) < wire.LostAfter {", "j.DisconnectedSince.IsZero() {"}}},
	{Name: "never-lost", Rule: "a silent job is lost after 7 days", Edits: []Edit{{sweepRules,
		"case j.State == wire.StateRunning && !j.DisconnectedSince.IsZero() && silence >= wire.LostAfter:", "case false:"}}},
	{Name: "hold-for-ever", Rule: "the hold of a silent job is let go after 60 min", Edits: []Edit{{sweepRules,
		"case j.Holding && silence >= wire.HoldAfterSilence && (j.State.Terminal() || !j.DisconnectedSince.IsZero()):", "case false:"}}},
	{Name: "hold-let-go-at-revoke", Rule: "a revoked host's running job keeps its hold for 60 min",
		Stays: "a restic that outlives its host's revocation and meets a neighbour's exclusive job did not come up in 500 histories; TestEveryArrow and TestDueAtTheMomentAndNotBefore fail without it", Edits: []Edit{{sweepRules,
			"\"the host was revoked while the job ran\", true, now)", "\"the host was revoked while the job ran\", false, now)"}}},
	{Name: "no-amnesty", Rule: "nothing expires while the sweeper was away", Edits: []Edit{{"server/fleet/job/vigil.go",
		"v.Until = now.Add(wire.Amnesty)", "v.Until = now.Add(0 * wire.Amnesty)"}}},
	{Name: "no-reconciling", Rule: "polls that do not name a running job prove its folder lost", Edits: []Edit{{offerRules,
		"if !named[j.ID] {", "if false {"}}},
	{Name: "reconcile-at-once", Rule: "three such polls, of a job whose lease ran out, and no fewer",
		Stays: "no request here comes later than 65 s, and the lease is longer; it is there for those that come later still", Edits: []Edit{
			{agentRules, "if j.Unnamed.Polls < UnnamedPolls {", "if j.Unnamed.Polls < 1 {"}}},

	// Processes.
	{Name: "boot-any-number", Rule: "a hello needs a higher boot number", Edits: []Edit{{bootRules,
		"case number <= h.Newest.Number:", "case false:"}}},
	{Name: "alarm-without-mark", Rule: "only an echoed mark proves that an older process lives", Edits: []Edit{{bootRules,
		"if echoed == h.Older[i].Probe && !h.Alarm {", "if !h.Alarm {"}}},
	{Name: "no-alarm", Rule: "two living processes of one host raise the alarm", Edits: []Edit{{bootRules,
		"h.Alarm, r.Raised = true, true", "r.Raised = true"}}},

	// Ending.
	{Name: "finish-not-idempotent", Rule: "the same result again is the same", Edits: []Edit{{agentRules,
		"case j.State.Terminal() && j.FinishSHA256 != \"\" && j.FinishSHA256 == e.SHA256:", "case false:"}}},
	{Name: "finish-any-lease", Rule: "finish asks for the lease", Edits: []Edit{{agentRules,
		"\t\treturn j, Effects{}, nil\n\tcase e.Lease == \"\" || j.Lease != e.Lease:\n\t\treturn j, Effects{}, leaseLost(\"another delivery has it, or the job was queued again\")\n\tcase j.State.Terminal():",
		"\t\treturn j, Effects{}, nil\n\tcase j.State == wire.StateQueued:\n\t\treturn j, Effects{}, leaseLost(\"\")\n\tcase j.State.Terminal():"}}},
	{Name: "terminal-changes", Rule: "a terminal state does not change", Edits: []Edit{{agentRules,
		"\tcase j.State.Terminal():\n\t\tj.LateReport = true\n\t\treturn j, Effects{KeepReport: true}, nil\n", ""}}},
	{Name: "result-not-durable", Rule: "the result is durable before it is reported", Edits: []Edit{{sealedFile,
		"\tif err := f.Sync(); err != nil {\n\t\treturn \"\", err\n\t}\n\treturn temp, nil", "\treturn temp, nil"}}},
	{Name: "log-not-durable", Rule: "the log is durable before the result that counts it", Edits: []Edit{{"agent/spool/logwriter.go",
		"err := errors.Join(w.file.Sync(), w.file.Close())", "err := w.file.Close()"}}},
	{Name: "folder-before-log", Rule: "the folder stays until the server has the log", Edits: []Edit{{stepRules,
		"case s.Lists && !s.Listed, s.ran() && !s.LogSettled:", "case s.Lists && !s.Listed:"}}},
	{Name: "cancel-any-phase", Rule: "a cancel of an accepted job ends it at once", Edits: []Edit{{sweepRules,
		"\tcase j.State == wire.StateRunning:\n\t\tif j.CancelRequestedAt.IsZero() {", "\tcase j.Active():\n\t\tif j.CancelRequestedAt.IsZero() {"}}},

	// Schedules.
	{Name: "log-before-adopt", Rule: "nothing is said of a job begun here before its adopt is answered", Edits: []Edit{{stepRules,
		"	if s.Silent() {\n\t\treturn s.advanceLocal(out, now, random)\n\t}\n\tif s.Resume {", "\tif s.Silent() && !s.ran() {\n\t\treturn s.advanceLocal(out, now, random)\n\t}\n\tif s.Resume {"}}},
	{Name: "begin-unsaved", Rule: "the book is durable before a job begins here", Edits: []Edit{{planRules,
		"if changed || len(begins) > 0 {", "if changed && len(begins) == 0 {"}}},
	{Name: "run-all-open", Rule: "of several open due times the last alone is run", Edits: []Edit{{planRules,
		"case i != last:", "case i != last && false:"}}},
	{Name: "begin-at-once", Rule: "120 s are given to the server", Edits: []Edit{{planRules,
		"return latest(latest(p.waitedSince(n, f).Add(f.wait()), p.Open[n].At), p.NotBefore), true", "return latest(p.Open[n].At, p.NotBefore), true"}}},
	{Name: "random-id", Rule: "a due time's job has the same id wherever it begins", Edits: []Edit{{"agent/runner/schedule.go",
		"Offer: wire.Offer{JobID: id, Kind: b.Policy.Kind,", "Offer: wire.Offer{JobID: \"01920000-0000-7000-8000-\" + lease[:12], Kind: b.Policy.Kind,"}}},
	{Name: "adopt-busy-lane", Rule: "adopt looks whether the lane is free", Edits: []Edit{{agentRules,
		"case e.LaneBusy:\n\t\treturn j, Effects{}, busy(wire.ProblemHostBusy, retryHost, \"another job of this host is under way\")\n\t}", "case false:\n\t\treturn j, Effects{}, busy(wire.ProblemHostBusy, retryHost, \"another job of this host is under way\")\n\t}"}}},
	{Name: "adopt-unordered", Rule: "an adopt waits for what was due before", Rare: true, Edits: []Edit{{bookRules,
		"return p != nil && len(p.Open) > 0 && p.Open[0].At.Before(at)", "return false && p.Open[0].At.Before(at)"}}},
	{Name: "tell-past-adopt", Rule: "what is due later waits for an adopt", Rare: true, Edits: []Edit{{planRules,
		"|| f.Local[wire.TickJobID(p.ID, f.Host, d.At)] {", "{"}}},
	{Name: "adopt-unnamed", Rule: "polls name a job whose adopt is out", Rare: true, Edits: []Edit{{stepRules,
		"func (s State) Named() bool { return !s.Silent() || s.Adopting }", "func (s State) Named() bool { return !s.Silent() }"}}},
	{Name: "adopt-unclaimed", Rule: "only what has a claim is adopted",
		Stays: "a supervisor that claims nothing for 30 s while the server comes back did not come up in 1,200 histories; TestLocalJobGoesFromItsBeginToTheEnd fails without it", Edits: []Edit{{stepRules,
			"if !s.Adopting && (s.Claim != ClaimNone || s.Result) &&", "if !s.Adopting &&"}}},
	{Name: "give-up-undecided", Rule: "nothing is given up before its claim is decided",
		Stays: "the disk would have to fail as the claim is linked, which did not come up in 1,200 histories; TestNoOrderOfEventsBreaksTheRules found it", Edits: []Edit{{stepRules,
			"case s.Recovered && s.Nonce != \"\" && s.Claim == ClaimNone && !s.Abandoned:", "case false:"}}},
	{Name: "missed-although-begun", Rule: "what was begun here is never called missed",
		Stays: "the order of ticks and adopts has its outcome written before; TestWhatWasBegunHereIsNeverCalledMissed fails without it", Edits: []Edit{{planRules,
			"if d.Outcome != \"\" || d.Begun {\n\t\t\tcontinue", "if d.Outcome != \"\" {\n\t\t\tcontinue"}}},
	{Name: "forget-open", Rule: "another rhythm leaves open what was due by the old one",
		Stays: "a due time that no durable book has is none to the histories, and did not come up in 700; TestAnotherCronHoldsForTheFutureAlone fails without it", Edits: []Edit{{bookRules,
			"\t\t\t\tknown.look(f)\n", ""}}},

	// Windows and conditions.
	{Name: "begin-outside", Rule: "a run begins in its windows only", Edits: []Edit{{holdRules,
		"case at.After(f.Now):", "case false:"}}},
	{Name: "begin-held", Rule: "nothing begins here under a condition", Edits: []Edit{{holdRules,
		"case p.SkipOnBattery && f.OnBattery:", "case false:"}, {holdRules,
		"case p.SkipOnMetered && f.Metered:", "case false:"}}},
	{Name: "judge-never", Rule: "conditions are looked at whenever something depends on them", Edits: []Edit{{holdRules,
		"if d.Outcome == \"\" && !d.Begun && !now.Before(d.NotBefore) {\n\t\t\t\treturn true", "if d.At.IsZero() {\n\t\t\t\treturn true"}}},
	{Name: "held-missed", Rule: "what waits by the policy's own rules is skipped when the next one is due, not missed", Edits: []Edit{{planRules,
		"case i != last && d.Held != \"\":", "case false:"}}},
	{Name: "later-forgets", Rule: "a due time that is answered later stays open", Rare: true, Edits: []Edit{{bookRules,
		"\t\tif answers[i].Later {\n\t\t\tif n >= 0 {\n\t\t\t\tp.Open[n].Later = true\n\t\t\t}\n\t\t\tcontinue\n\t\t}\n", ""}}},
	{Name: "window-at-once", Rule: "the server's 120 s begin with the window", Edits: []Edit{{planRules,
		"since := latest(latest(p.Open[n].At, p.Open[n].Seen), p.Open[n].Free)", "since := latest(p.Open[n].At, p.Open[n].Seen)"}}},
	{Name: "stop-unbounded", Rule: "a window that stops at its end bounds what begins here", Edits: []Edit{{planRules,
		"Begin{Policy: p.bounded(f.Now), DueAt", "Begin{Policy: p.ScheduledPolicy, DueAt"}}},

	// The log and the list.
	{Name: "log-gap", Rule: "a gap is refused", Edits: []Edit{{logRules, "case q.FirstLine > l.NextLine:", "case false:"}}},
	{Name: "log-twice", Rule: "lines that are there are not stored again", Edits: []Edit{{logRules,
		"case q.Lines == 0 || q.FirstLine < l.NextLine:", "case q.Lines == 0:"}}},
	{Name: "log-blind", Rule: "the place of a batch is looked at, by line and by sum", Edits: []Edit{
		{logRules, "case q.FirstLine > l.NextLine:", "case false:"},
		{logRules, "case q.Lines == 0 || q.FirstLine < l.NextLine:", "case q.Lines == 0:"},
		{logRules, "if hex.EncodeToString(before.Sum(nil)) != q.SumBefore {", "if hex.EncodeToString(before.Sum(nil)) == \"\" {"}}},
	{Name: "no-sum-before", Rule: "lines go on only behind the same bytes", Edits: []Edit{{logRules,
		"if hex.EncodeToString(before.Sum(nil)) != q.SumBefore {", "if hex.EncodeToString(before.Sum(nil)) == \"\" {"}}},
	{Name: "log-any-lease", Rule: "log lines need the lease", Edits: []Edit{{agentRules,
		"\tcase lease == \"\" || j.Lease != lease:", "\tcase lease == \"\":"}}},
	{Name: "send-unsynced", Rule: "only durable log bytes leave the host", Edits: []Edit{{"agent/spool/logreader.go",
		"if err := r.sync(r.offset + int64(len(b.Body))); err != nil {", "if false {\n\t\tvar err error"}}},
	{Name: "interrupted-log-not-durable", Rule: "a result without restic's own counts durable lines only",
		Stays: "the power would have to go between that result and the log's next fsync, which did not come up in 500 histories; TestSumOfAnInterruptedLogCountsWhatAPowerCutLeaves fails without it", Edits: []Edit{{"agent/spool/logreader.go",
			"\tif err == nil {\n\t\terr = file.Sync()\n\t}\n", ""}}},
	{Name: "wrong-clock", Rule: "what restic decides by the clock is refused while that is wrong", Edits: []Edit{{"agent/guard/decide.go",
		"\tif skew.Abs() > wire.MaxSkew {", "\tif false {"}}},
	{Name: "cancel-unaudited", Rule: "what people change is in the audit trail (of the store in memory)", Edits: []Edit{{"server/fleet/job/memory/operator.go",
		"\t\ts.audit(\"job.cancel\", \"job:\"+id)\n", ""}}},
	{Name: "no-listing-token", Rule: "a list gives way to none whose token is older", Edits: []Edit{{"simulation/server.go",
		"if l.order > t.order {", "if false {"}}},
}
