// Package e2e holds tests only: real server, real agent, real restic, real repositories, on both databases
// and with both supported restic versions. They use what a user has: the binaries and the documented API.
package e2e
