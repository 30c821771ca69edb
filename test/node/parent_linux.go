package node

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end the program with whoever started it. No thread is pinned for it:
// the signal comes when the starting thread ends, which in a test binary is its end.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
