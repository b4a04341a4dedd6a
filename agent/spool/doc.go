// Package spool holds the files of the agent's state folder: what survives a crash. It knows no network
// and no restic.
//
// # The state folder
//
//	lock                       held while an agent lives (a second one exits)
//	boot.json                  the number of the newest agent process
//	ledger, ledger-copy        every job id that was ever run; ids in it are never run again
//	jobs/<id>/                 one folder per job, see Folder
//	finished/<id>-<unix time>  finish.json of settled jobs, kept for KeepFinished
//	aside/<id>                 folders that are neither shipped nor deleted: dropped or damaged
//	trash/                     folders being deleted
//
// # A job's folder
//
//	job.json                   offer, phase, leases, nonce: Job
//	claim-<nonce>              who may run it; the first link wins: Claim
//	supervisor.lock            held by the supervisor alone
//	run.lock                   held by the supervisor and inherited by restic and hooks: free means all are gone
//	group.json                 the process group of restic, or of the hook before or after it: Group
//	log.ndjson                 the log, one wire.Record per line
//	progress.json              the latest progress, not fsynced
//	hook-<stage>-<n>           the n-th hook of a stage was begun, and is not begun again
//	cancel                     an order to cancel
//	result.json                what restic did: Result
//	finish.json                the bytes of the finish request
//	*.space                    space set aside, so that these files fit on a full disk
//
// Every durable write goes to a temporary file, is fsynced, renamed, and its folder is fsynced. Every
// durable JSON file carries the SHA-256 of its body: a file that is torn or altered is put aside, and
// a job that it belongs to is never run.
package spool
