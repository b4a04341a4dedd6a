/** What to do about a job that ended with this code: one sentence for the reader; undefined for those that need none. */
export function adviceFor(code: string | undefined): string | undefined {
	return code === undefined ? undefined : advice[code];
}

const advice: Record<string, string | undefined> = {
	guard: "The machine's owner does not allow it: change the order, or guard.yaml on the machine.",
	guard_broken: "Mend guard.yaml on the machine; it holds from the next order on.",
	unknown_kind: "Update the agent on the machine.",
	restic_missing: "Install restic on the machine, 0.14.0 or newer.",
	restic_too_old: "Install a newer restic on the machine, 0.14.0 at least.",
	clock_skew: "Set the machine's clock (timedatectl set-ntp true), then order it again.",
	preflight_failed: "The job's log has the reason; mend it on the machine, then order it again.",
	no_repository: "Set a repository: here, or in agent.yaml on the machine.",
	restore_target: "Give another name for the new folder, or see who may write to the restore root.",
	interrupted: "The machine or restic went away in the middle. Order it again.",
	time_limit: "It took longer than its time limit. Order it again with a longer one, or back up less at once.",
	wrong_password: "Set the repository's password anew: restic could not open the repository with it.",
	repository_missing: "There is no repository at this place. Correct its URL, or initialize it.",
	repository_locked: "Another restic holds the repository. Order it again later; unlock removes what a dead one left.",
	repository_unreachable:
		"Its storage did not answer, or refused the credentials: see its URL, its credentials and the machine's network.",
	repository_damaged: "Run a check, and read its log before anything else writes to the repository.",
	repository_exists: "There is a repository already: nothing to initialize.",
	permission_denied: "The agent may not read or write something it needs; its log names it.",
	source_missing: "None of the paths exists. Correct them and order it again.",
	no_space: "Free space where the log says there is none, then order it again.",
	crashed: "restic died. Order it again; if it happens twice, look at the machine's memory and kernel log.",
	hook_failed: "A script of the machine failed: its last lines are in the log. Mend it there, then order it again.",
	restic_failed: "The log has restic's own words.",
	silent: "Nothing was heard of the machine for 7 days. Look whether it and its agent run.",
	host_revoked: "The machine was revoked while it worked.",
	expired: "The machine did not fetch it in time. Look whether it and its agent run, then order it again.",
};
