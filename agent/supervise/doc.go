// Package supervise runs restic in a process of its own that survives the agent.
//
// Start re-executes the agent's binary as "restic-manager-agent supervise" in a session of its own and
// hands it the Order through a pipe: the repository's secrets are never on disk, in an argument or in an
// environment but restic's. The supervisor takes its locks, links the claim of the start nonce (the first
// wins), enters the job in the ledger, and starts "supervise-child", which records its process group
// and becomes restic. From then on it drains both pipes, keeps log and progress, the time limit and the
// cancel file, and on restic's exit writes result.json. It alone sends signals; it ends with restic.
//
// The locks are taken before the claim is linked: a claim whose locks are free is that of a supervisor that
// is gone, and there is no moment in which one that will still run restic looks like that.
package supervise
