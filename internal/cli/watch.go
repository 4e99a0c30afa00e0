package cli

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How long a folder has to be quiet before its changes are reported, and the
// most that a stream of changes is waited for. An editor writes a file in
// several steps; a checkout of another branch takes longer.
const (
	quietFor  = 15 * time.Millisecond
	quietMost = 300 * time.Millisecond
)

// watch calls changed once it watches dir, and then each time that files below
// it changed, with these (sorted, relative to dir), until ctx ends. What changes
// during a call is reported after it.
func watch(ctx context.Context, dir string, changed func(files []string)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	if err := watchBelow(w, dir, dir); err != nil {
		return err
	}
	changed(nil)
	files := map[string]bool{}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var first time.Time // of what is not reported yet
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			name, err := filepath.Rel(dir, e.Name)
			if err != nil || !watched(name) || e.Op == fsnotify.Chmod {
				continue
			}
			if e.Has(fsnotify.Create) {
				// A new folder may have got files before it was watched; that it
				// came is reported, so they are seen. One that is gone again is
				// no fault.
				if err := watchBelow(w, dir, e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			if len(files) == 0 {
				first = time.Now()
			}
			files[name] = true
			timer.Reset(min(quietFor, quietMost-time.Since(first)))
		case err, ok := <-w.Errors:
			if !ok {
				return nil
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return err
			}
			files["."] = true // something was missed
			timer.Reset(quietFor)
		case <-timer.C:
			list := make([]string, 0, len(files))
			for f := range files {
				list = append(list, f)
			}
			slices.Sort(list)
			clear(files)
			changed(list)
		}
	}
}

// watched reports whether a path of a project may be part of its functions.
// node_modules is left out: it is large, and an install ends with a change of
// package-lock.json.
func watched(path string) bool {
	for _, part := range strings.Split(filepath.ToSlash(path), "/") {
		if part == "node_modules" || part != "." && strings.HasPrefix(part, ".") || strings.HasSuffix(part, "~") {
			return false
		}
	}
	return true
}

// watchBelow watches a folder with all that it holds. A file is none of its business.
func watchBelow(w *fsnotify.Watcher, root, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if name, err := filepath.Rel(root, path); err != nil || !watched(name) {
			return filepath.SkipDir
		}
		return w.Add(path)
	})
}
