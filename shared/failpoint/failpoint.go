// Package failpoint names places in the programs where a test may end, delay or fail them. In a normal build Hit
// is empty and costs nothing; the build tag failpoint makes the places real. The programs for tests are built
// so into a folder of their own: make faultbin.
package failpoint

// Variable is the environment variable that names the folder of armed places.
const Variable = "RESTIC_MANAGER_FAILPOINTS"
