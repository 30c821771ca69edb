package lifecycle

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// PanicError is a panic that was contained: the stack is in the log, the value is here.
type PanicError struct {
	// Value is what panic was called with.
	Value any
}

// Error returns "panic: " and the value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// contain calls fn and turns a panic into an error, with its stack in the log.
func contain(log *slog.Logger, name string, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			log.Error("panic contained", "unit", name, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = &PanicError{Value: v}
		}
	}()
	return fn()
}
