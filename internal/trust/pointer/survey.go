package pointer

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
)

// Found is one file where nodes leave their pointers.
type Found struct {
	// Path of the file, or of the directory if that is what is wrong.
	Path string
	// Pointer is what the file says; zero with a Problem.
	Pointer Pointer
	// Living is true for a node that runs and answers.
	Living bool
	// Problem is why the file is passed over: unreadable, damaged, or open to other users.
	Problem error
}

// Survey looks at every pointer that could be this user's, good or bad, for who wants to know why a node is
// not found. The error is that of ctx.
func Survey(ctx context.Context) ([]Found, error) {
	var all []Found
	dirs := places()
	slices.Sort(dirs) // the order tells nothing here, and two may be one
	for _, dir := range slices.Compact(dirs) {
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil || len(files) == 0 {
			continue
		}
		if err := private(dir); err != nil {
			all = append(all, Found{Path: dir, Problem: err})
			continue
		}
		for _, path := range files {
			all = append(all, look(path))
		}
	}
	var wg sync.WaitGroup
	for i := range all {
		if f := &all[i]; f.Problem == nil {
			wg.Go(func() { f.Living = listens(ctx, f.Pointer) })
		}
	}
	wg.Wait()
	return all, ctx.Err()
}

func look(path string) Found {
	f := Found{Path: path, Problem: private(path)}
	if f.Problem == nil {
		f.Pointer, f.Problem = ReadFile(path)
	}
	return f
}
