package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"syncline/internal/records"
)

// readFor is how long to read at least, over and over, so that there is something
// to compare.
const readFor = 20 * time.Second

// flat is by how much memory may be higher in the last quarter than in the first.
const flat = 1.2

// slack is how much more does not count: a small heap goes up and down by its
// own size between collections.
const slack = 8 << 20

// measureMemory writes records and reads them back, and tells what memory this
// process took. Postgres' own is not in it.
func measureMemory(ctx context.Context, o options, e engine) (err error) {
	s, err := e.openOurs(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	fmt.Printf("%d records, %d to a transaction; pages of 10,000; memory of this process every second\n\n", o.n, o.batch)
	const line = "%-6s %10s %6s %8s %10s %18s %10s %18s %6s\n"
	fmt.Printf(line, "phase", "records/s", "took", "samples", "max heap", "first/last quarter", "max RSS", "first/last quarter", "flat")
	phases := []struct {
		name string
		run  func() (rate, error)
	}{
		{"write", func() (rate, error) {
			return writes(func(in input, first, n int) work {
				return work{op: records.OpSave, rows: in.rows(first, n, false), isNew: true}
			})(ctx, s, o.n, o)
		}},
		{"read", func() (all rate, err error) {
			for err == nil && all.took < readFor {
				var r rate
				r, err = readOp("", "", 10_000).run(ctx, s, o.n, o)
				all.records, all.took = all.records+r.records, all.took+r.took
			}
			return all, err
		}},
	}
	for _, p := range phases {
		w := watch()
		r, err := p.run()
		samples := w.stop()
		if err != nil {
			return err
		}
		heap, rss := column(samples, func(s sample) uint64 { return s.heap }), column(samples, func(s sample) uint64 { return s.rss })
		verdict := "yes"
		if !isFlat(heap) || !isFlat(rss) {
			verdict = "no"
		}
		fmt.Printf(line, p.name, fmt.Sprintf("%.0f", r.perSecond()), r.took.Round(time.Second), strconv.Itoa(len(samples)),
			megabytes(most(heap)), bothQuarters(heap), megabytes(most(rss)), bothQuarters(rss), verdict)
	}
	fmt.Println()
	return nil
}

type sample struct{ heap, rss uint64 }

type watcher struct {
	end     chan struct{}
	done    sync.WaitGroup
	samples []sample
}

func watch() *watcher {
	w := &watcher{end: make(chan struct{})}
	w.done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.samples = append(w.samples, take())
			case <-w.end:
				return
			}
		}
	})
	return w
}

// stop returns the samples; there is at least one.
func (w *watcher) stop() []sample {
	close(w.end)
	w.done.Wait()
	return append(w.samples, take())
}

func take() sample {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return sample{m.HeapInuse, residentBytes()}
}

// residentBytes is the memory of this process as the system sees it; 0 where
// it does not tell.
func residentBytes() uint64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kb, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}

func column(samples []sample, of func(sample) uint64) (v []uint64) {
	for _, s := range samples {
		v = append(v, of(s))
	}
	return v
}

func most(v []uint64) (m uint64) {
	for _, x := range v {
		m = max(m, x)
	}
	return m
}

// quarters are the highest of the first quarter and of the last.
func quarters(v []uint64) (first, last uint64) {
	n := max(1, len(v)/4)
	return most(v[:n]), most(v[len(v)-n:])
}

func bothQuarters(v []uint64) string {
	first, last := quarters(v)
	return megabytes(first) + " / " + megabytes(last)
}

func isFlat(v []uint64) bool {
	first, last := quarters(v)
	return float64(last) <= flat*float64(first) || last-first < slack
}

func megabytes(b uint64) string { return fmt.Sprintf("%d MB", b>>20) }
