package poll

import (
	"errors"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// The calls on descriptors that never block go to the kernel without telling the scheduler, which would
// only hand the processor to somebody else and take it back.

// interest is all that a connection can tell, once each time it comes about.
const interest = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edge

const edge = 1 << 31 // EPOLLET, which package syscall has as a negative number

// rawRead reads from a descriptor; again says that there is nothing now.
func rawRead(fd int, p []byte) (n int, again bool, err error) {
	for {
		r, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch e {
		case 0:
			return int(r), false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, os.NewSyscallError("read", e)
		}
	}
}

// rawWrite writes to a descriptor; again says that it takes nothing now.
func rawWrite(fd int, p []byte) (n int, again bool, err error) {
	for {
		r, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch e {
		case 0:
			return int(r), false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, os.NewSyscallError("write", e)
		}
	}
}

// epollLook returns the events that there are; again says that there are none.
func epollLook(epoll int, events []syscall.EpollEvent) (n int, again bool) {
	r, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0, true
	}
	return int(r), r == 0
}

// nap is how long a busy loop waits without telling the scheduler.
const nap = time.Millisecond

// epollNap waits for events for a moment. The scheduler would take the processor back from a loop that
// waits, and give it again a few microseconds later; a signal of its own ends the wait if it needs the
// processor.
func epollNap(epoll int, events []syscall.EpollEvent) int {
	r, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		uintptr(nap/time.Millisecond), 0, 0)
	if e != 0 {
		return 0
	}
	return int(r)
}

// epollWait waits for events, for ever if the timeout is negative.
func epollWait(epoll int, events []syscall.EpollEvent, timeout time.Duration) int {
	ms := -1
	if timeout >= 0 {
		ms = int(min((timeout+time.Millisecond-1)/time.Millisecond, time.Hour/time.Millisecond))
	}
	n, err := syscall.EpollWait(epoll, events, ms)
	if err != nil {
		return 0 // interrupted
	}
	return n
}

func newBell() (int, error) {
	r, _, e := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if e != 0 {
		return -1, os.NewSyscallError("eventfd2", e)
	}
	return int(r), nil
}

func ringBell(fd int) {
	one := [8]byte{1}
	_, _, _ = rawWrite(fd, one[:])
}

func quietBell(fd int) {
	var b [8]byte
	_, _, _ = rawRead(fd, b[:])
}

// peek reports whether a read would bring something, be it the end.
func peek(fd int) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return !errors.Is(err, syscall.EAGAIN)
}
