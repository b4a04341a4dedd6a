// Package simulation runs the production rules under a virtual clock, network and disk: the server's Apply and
// what answers polls over the store in memory, the agent's Step, the spool with its recovery, the supervisors'
// claims, and the shipping of logs. One process, one goroutine: one seed is one history, the same to the byte
// each time. Faults are drawn from the seed; the promises of the protocol are checked after each transaction, at
// each start of restic, and at the end. Virtual are restic, the supervisor's process, the sockets and the loops
// that carry the rules' actions out; docs/simulation.md says what that leaves out.
package simulation
