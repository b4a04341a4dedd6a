package api

import (
	"net/http"
	"time"

	"restic-manager/server/access"
	"restic-manager/shared/wire"
)

// The methods.
const (
	get   = http.MethodGet
	post  = http.MethodPost
	put   = http.MethodPut
	patch = http.MethodPatch
	del   = http.MethodDelete
)

// Longest waits, in whole seconds. A poll's is its agent's choice (wire.ParsePollQuery).
const (
	maxPollWait = wire.MaxHold
	maxWait     = 25 * time.Second
)

// table is everything the server answers under /api and beside it, and who may ask.
func (s *Server) table() []*Route {
	return []*Route{
		route(get, "/healthz", Public, "healthz", "The process is alive", raw((*Server).healthz, contractOfText), always, quiet),
		route(get, "/readyz", Public, "readyz", "The server can do its work", raw((*Server).readyz, contractOfText), always, quiet),
		route(get, "/metrics", Metrics, "metrics", "Figures for Prometheus", raw((*Server).serveMetrics, contractOfText), always, quiet),
		route(get, "/api/openapi.json", Public, "openapi", "This contract", raw((*Server).serveOpenAPI, contractOfJSON), zipped, quiet),

		route(post, "/api/setup", Setup, "setup", "Make the first administrator by the printed code, and sign in", operate(s.setup), always, small, status(204)),
		route(post, "/api/auth/login", Public, "login", "Sign in", operate(s.login), small, status(204)),
		route(post, "/api/auth/logout", Self, "logout", "Sign out", operate(s.logout), status(204)),
		route(get, "/api/auth/me", Viewer, "me", "Who is signed in, or which API key this is", operate(s.me), needs(access.AnyScope)),
		route(put, "/api/auth/password", Self, "changePassword", "Change one's own password", operate(s.changePassword), small, status(204)),
		route(get, "/api/sessions", Self, "listSessions", "One's own sign-ins", operate(s.listSessions)),
		route(del, "/api/sessions/{id}", Self, "deleteSession", "End one of one's own sign-ins", operate(s.deleteSession), status(204)),
		route(get, "/api/operators", Administrator, "listOperators", "The accounts", operate(s.listOperators), zipped),
		route(post, "/api/operators", Administrator, "createOperator", "Make an account", operate(s.createOperator), small, status(201)),
		route(get, "/api/operators/{id}", Administrator, "getOperator", "One account", operate(s.getOperator)),
		route(patch, "/api/operators/{id}", Administrator, "updateOperator", "Change an account", operate(s.updateOperator), small),
		route(del, "/api/operators/{id}", Administrator, "deleteOperator", "Delete an account", operate(s.deleteOperator), status(204)),
		route(get, "/api/api-keys", Administrator, "listAPIKeys", "The keys of programs", operate(s.listAPIKeys), zipped),
		route(post, "/api/api-keys", Administrator, "createAPIKey", "Make a key for a program; it is shown once", operate(s.createAPIKey), small, status(201)),
		route(del, "/api/api-keys/{id}", Administrator, "deleteAPIKey", "Void a key", operate(s.deleteAPIKey), status(204)),
		route(get, "/api/audit", Administrator, "listAudit", "Who changed what", operate(s.listAudit), zipped),

		route(get, "/api/enrollment-tokens", Operator, "listEnrollmentTokens", "Tokens that can enroll a machine, and those that have", operate(s.listTokens), zipped, needs(access.HostsWrite)),
		route(post, "/api/enrollment-tokens", Operator, "createEnrollmentToken", "Make a token that enrolls one machine; it is shown once", operate(s.createToken), small, status(201), needs(access.HostsWrite)),
		route(get, "/api/enrollment-tokens/{id}", Operator, "getEnrollmentToken", "One token: whether it was used, and by which host", operate(s.getToken), needs(access.HostsWrite)),
		route(del, "/api/enrollment-tokens/{id}", Operator, "deleteEnrollmentToken", "Void a token", operate(s.deleteToken), status(204), needs(access.HostsWrite)),
		route(get, "/api/server", Viewer, "getServer", "What this server is, and how it does", operate(s.getServer)),
		route(get, "/api/fleet", Viewer, "getFleet", "Is everything backed up? Counts, and the hosts that need somebody", operate(s.getFleet), zipped),
		route(get, "/api/fleet/calendar", Viewer, "getFleetCalendar", "How the fleet's backups went, day by day, and what is due in the next hours", operate(s.getFleetCalendar), zipped),
		route(get, "/api/install", Operator, "getInstall", "How a machine is added by one command", operate(s.getInstall), zipped, needs(access.HostsWrite)),
		route(get, "/install.sh", Public, "installScript", "The shell script that installs the agent on a machine and enrolls it", raw((*Server).installScript, contractOfScript)),
		route(get, "/download/agent/{platform}", Public, "downloadAgent", "The agent for a platform, as in linux-amd64", raw((*Server).downloadAgent, contractOfProgram), lasts(15*time.Minute)),
		route(get, "/api/hosts", Viewer, "listHosts", "The fleet", operate(s.listHosts), zipped),
		route(get, "/api/hosts/{id}", Viewer, "getHost", "One host", operate(s.getHost), zipped),
		route(patch, "/api/hosts/{id}", Operator, "updateHost", "Rename or label a host", operate(s.updateHost), small, needs(access.HostsWrite)),
		route(del, "/api/hosts/{id}", Operator, "deleteHost", "Revoke a host, and delete it with its jobs and logs", operate(s.deleteHost), status(204), needs(access.HostsWrite)),
		route(post, "/api/hosts/{id}/revoke", Operator, "revokeHost", "Void the host's credential", operate(s.revokeHost), needs(access.HostsWrite)),
		route(post, "/api/hosts/{id}/clone-alarm/clear", Operator, "clearCloneAlarm", "Say that one of the two copies is switched off", operate(s.clearCloneAlarm), needs(access.HostsWrite)),
		route(put, "/api/hosts/{id}/repository", Operator, "putRepository", "Hold a repository for the host", operate(s.putRepository), small, status(204), needs(access.HostsWrite)),
		route(del, "/api/hosts/{id}/repository", Operator, "deleteRepository", "Let the host's own configuration name the repository", operate(s.deleteRepository), status(204), needs(access.HostsWrite)),
		route(get, "/api/hosts/{id}/policies", Viewer, "listHostPolicies", "The policies that apply to the host", operate(s.listHostPolicies), zipped),
		route(get, "/api/policies", Viewer, "listPolicies", "The policies", operate(s.listPolicies), zipped),
		route(post, "/api/policies", Operator, "createPolicy", "Make a policy", operate(s.createPolicy), status(201), needs(access.PoliciesWrite)),
		route(post, "/api/policies/plan", Viewer, "planPolicy", "What saving a policy would do; nothing is written", operate(s.planPolicy)),
		route(post, "/api/policies/import", Viewer, "importPolicies", "What another program's configuration says, as drafts; nothing is written", operate(s.importPolicies)),
		route(get, "/api/policies/{id}", Viewer, "getPolicy", "One policy", operate(s.getPolicy), zipped),
		route(put, "/api/policies/{id}", Operator, "putPolicy", "Change a policy", operate(s.putPolicy), needs(access.PoliciesWrite)),
		route(del, "/api/policies/{id}", Operator, "deletePolicy", "Delete a policy; its jobs stay", operate(s.deletePolicy), status(204), needs(access.PoliciesWrite)),
		route(get, "/api/policies/{id}/versions", Viewer, "listPolicyVersions", "What the policy was, the newest first", operate(s.listPolicyVersions), zipped),
		route(get, "/api/policies/{id}/hosts", Viewer, "listPolicyHosts", "The hosts that the policy applies to", operate(s.listPolicyHosts), zipped),
		route(post, "/api/policies/{id}/run", Operator, "runPolicy", "Order the policy's backup now", operate(s.runPolicy), lasts(2*time.Minute), needs(access.JobsWrite)),
		route(post, "/api/schedules/preview", Viewer, "previewSchedule", "What a cron expression means, and when it is due", operate(s.previewSchedule), small),
		route(get, "/api/ticks", Viewer, "listTicks", "What became of the policies' due times, newest first", operate(s.listTicks), zipped),
		route(get, "/api/hosts/{id}/snapshots", Viewer, "listSnapshots", "What the repository held when it was last listed, newest first", operate(s.listSnapshots), zipped),
		route(get, "/api/hosts/{id}/snapshots/{snapshot}", Viewer, "getSnapshot", "One snapshot, and the backup that made it", operate(s.getSnapshot), zipped),
		route(get, "/api/hosts/{id}/calendar", Viewer, "getCalendar", "How the host's backups ended, day by day", operate(s.getCalendar), zipped),
		route(post, "/api/hosts/{id}/jobs", Operator, "createJob", "Order a job", operate(s.createJob), status(201), repeats, needs(access.JobsWrite)),

		route(get, "/api/repositories", Viewer, "listRepositories", "The repositories", operate(s.listRepositories), zipped),
		route(post, "/api/repositories", Operator, "createRepository", "Set a repository up; its password is made if none is given", operate(s.createRepository), small, status(201), needs(access.RepositoriesWrite)),
		route(post, "/api/repositories/plan", Operator, "planRepository", "What saving a repository would do; nothing is written but a failed comparison of secrets", operate(s.planRepository), small, needs(access.RepositoriesWrite)),
		route(get, "/api/repositories/{id}", Viewer, "getRepository", "One repository, and what restic found there", operate(s.getRepository), zipped),
		route(patch, "/api/repositories/{id}", Operator, "updateRepository", "Change a repository, and what its hosts are handed", operate(s.updateRepository), small, needs(access.RepositoriesWrite)),
		route(del, "/api/repositories/{id}", Operator, "forgetRepository", "Forget a repository that nothing uses; its data stays", operate(s.forgetRepository), status(204), needs(access.RepositoriesWrite)),
		route(get, "/api/repositories/{id}/growth", Viewer, "getRepositoryGrowth", "What a repository held, day by day", operate(s.getRepositoryGrowth), zipped),
		route(get, "/api/growth", Viewer, "getGrowth", "What all repositories held together, day by day", operate(s.getGrowth), zipped),
		route(get, "/api/repositories/{id}/hosts", Viewer, "listRepositoryHosts", "The hosts that use a repository", operate(s.listRepositoryHosts), zipped),
		route(post, "/api/repositories/{id}/test", Operator, "testRepository", "Have a host list the repository's snapshots, its own repository staying what it is", operate(s.testRepository), small, status(201), repeats, needs(access.JobsWrite)),
		route(post, "/api/repositories/{id}/rotate", Operator, "rotateRepository", "Give a repository another password, with no moment without one that opens it", operate(s.rotateRepository), small, needs(access.RepositoriesWrite)),
		route(post, "/api/repositories/{id}/rotate/give-up", Operator, "giveUpRotation", "End a change of password that cannot go on", operate(s.giveUpRotation), status(204), needs(access.RepositoriesWrite)),
		route(post, "/api/repositories/{id}/reveal", Administrator, "revealRepository", "Tell what opens a repository, to who gives their own password again", operate(s.revealRepository), small),
		route(post, "/api/repositories/{id}/kit", Administrator, "makeRecoveryKit", "All that restic needs to get the data back without this server, sealed by a passphrase", operate(s.makeRecoveryKit), small),
		route(get, "/api/repositories/{id}/removals", Viewer, "listRemovals", "What retention removed or would remove, newest first", operate(s.listRemovals), zipped),
		route(post, "/api/repositories/{id}/adopt", Operator, "adoptSnapshots", "Have snapshots count that no backup ordered here made", operate(s.adoptSnapshots), needs(access.RepositoriesWrite)),
		route(post, "/api/repositories/{id}/unfreeze", Operator, "unfreezeRepository", "Say that somebody has looked at what does not count: it is left out, and retention goes on", operate(s.unfreezeRepository), small, status(204), needs(access.RepositoriesWrite)),
		route(post, "/api/repositories/{id}/maintain", Operator, "maintainRepository", "Remove what no policy keeps, free its space, or verify the next part of the data, now", operate(s.maintainRepository), small, needs(access.RepositoriesWrite)),
		route(post, "/api/removals/{id}/approve", Operator, "approveRemoval", "Order a removal that waits for a person's yes", operate(s.approveRemoval), needs(access.RepositoriesWrite)),
		route(post, "/api/removals/{id}/refuse", Operator, "refuseRemoval", "End a removal that waits for a person's yes", operate(s.refuseRemoval), needs(access.RepositoriesWrite)),
		route(post, "/api/retention/preview", Viewer, "previewRetention", "What a rule would keep of a host's snapshots; nothing is removed", operate(s.previewRetention), zipped, small),

		route(get, "/api/jobs", Viewer, "listJobs", "Jobs, newest first", operate(s.listJobs), zipped),
		route(get, "/api/jobs/{id}", Viewer, "getJob", "One job", operate(s.getJob), zipped),
		route(post, "/api/jobs/{id}/cancel", Operator, "cancelJob", "Cancel a job: at once while queued, else with the agent's next call", operate(s.cancelJob), status(202), needs(access.JobsWrite)),
		route(post, "/api/jobs/{id}/retry", Operator, "retryJob", "Order the same again", operate(s.retryJob), status(201), repeats, needs(access.JobsWrite)),
		route(get, "/api/jobs/{id}/log", Viewer, "readLog", "Lines of a job's log; with wait, the live tail", operate(s.readLog), zipped, waits(maxWait)),
		route(get, "/api/jobs/{id}/log.txt", Viewer, "downloadLog", "A job's whole log as text", raw((*Server).downloadLog, contractOfText), lasts(time.Hour)),
		route(get, "/api/changes", Viewer, "listChanges", "What changed since, for those who show it", operate(s.listChanges), waits(maxWait), quiet),

		route(post, "/api/agents/enroll", Public, "enroll", "Turn an enrollment token into a host", answer(s.enroll), small, status(201)),
		route(post, "/api/agents/hello", Agent, "hello", "An agent's first word after its start", answer(s.hello), limited),
		route(get, "/api/agents/next-command", Agent, "nextCommand", "The long poll", raw((*Server).nextCommand, contractOfPoll), limited, quiet, waits(maxPollWait)),
		route(get, "/api/agents/hold", Agent, "hold", "A request that is held as a poll is and asks for nothing: it tries the way", raw((*Server).hold, contractOfHold), limited, quiet, waits(wire.MaxHold)),
		route(post, "/api/agents/jobs/{id}/accept", Agent, "acceptJob", "Take an offered job", answer(s.acceptJob)),
		route(post, "/api/agents/jobs/{id}/start", Agent, "startJob", "Say that restic is about to run", answer(s.startJob)),
		route(post, "/api/agents/jobs/{id}/adopt", Agent, "adoptJob", "Report a scheduled job that was begun while the server was away", answer(s.adoptJob)),
		route(post, "/api/agents/jobs/{id}/resume", Agent, "resumeJob", "Take a job over after a restart of the agent", answer(s.resumeJob)),
		route(post, "/api/agents/jobs/{id}/log", Agent, "appendLog", "Ship log records", raw((*Server).appendLog, contractOfLog), quiet),
		route(post, "/api/agents/jobs/{id}/progress", Agent, "reportProgress", "How far a running job is", answer(s.reportProgress), quiet),
		route(post, "/api/agents/jobs/{id}/finish", Agent, "finishJob", "The result of a job", answer(s.finishJob)),
		route(post, "/api/agents/ticks", Agent, "recordTicks", "Account for due times of policies, and ask for their runs", answer(s.recordTicks)),
		route(post, "/api/agents/listings", Agent, "beginListing", "Draw a token before snapshots are listed", answer(s.beginListing)),
		route(put, "/api/agents/listings/{token}/parts/{n}", Agent, "putListingPart", "One part of a listing", raw((*Server).putListingPart, contractOfPart), quiet),
		route(post, "/api/agents/listings/{token}/commit", Agent, "commitListing", "Make a listing the one that counts", answer(s.commitListing), lasts(commitLimit)),
	}
}
