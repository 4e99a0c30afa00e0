package host

import "sync"

// watermarks keeps, by model, the store position that guards the next batch:
// the latest moment of which it is certain that the batch's data was not
// fetched before it.
//
// A plain page loop (fetch, save, fetch, save) lets the mark move on to the
// start of each page's request. As soon as more requests have completed than
// batches were saved, or requests overlap, data may be in the function's hands
// that is older than the newest request: then the mark stays.
type watermarks struct {
	mu        sync.Mutex
	start     int64 // guards until the first request begins
	requested bool
	inFlight  int
	completed int
	models    map[string]*modelMark
}

type modelMark struct {
	mark    int64
	batches int
	// requested says that a request began since the last batch.
	requested bool
}

func newWatermarks(start int64) *watermarks {
	return &watermarks{start: start, models: map[string]*modelMark{}}
}

// begin notes that a request is about to be sent, at a position of the store
// that was read before.
func (w *watermarks) begin(position int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.requested {
		w.requested = true
		w.start = position
	}
	for _, m := range w.models {
		if !m.requested {
			m.requested = true
			if w.inFlight == 0 && w.completed <= m.batches {
				m.mark = position
			}
		}
	}
	w.inFlight++
}

// end notes that a request has completed, or failed.
func (w *watermarks) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight--
	w.completed++
}

// batch returns the mark for a batch of model and counts it.
func (w *watermarks) batch(model string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.models[model]
	if m == nil {
		m = &modelMark{mark: w.start}
		w.models[model] = m
	}
	// A page may be saved in several batches: they stand for one request.
	m.batches = min(m.batches+1, w.completed)
	m.requested = false
	return m.mark
}
