package host

import "sync"

// watermarks keeps, by model, the store position that guards the next batch:
// the latest moment of which it is certain that the batch's data was not
// fetched before it.
//
// A plain page loop (fetch, save, fetch, save) lets the mark move on to the
// start of each page's request. As soon as two requests begin between two
// batches, or a request is in flight while another begins or a batch is made,
// the function may keep data in its hands that is older than its newest
// request. How long, nobody can tell, as a page may be saved in any number of
// batches: then the mark stays for the rest of the run.
type watermarks struct {
	mu       sync.Mutex
	start    int64 // guards until the first request begins
	requests int
	inFlight int
	models   map[string]*modelMark
}

type modelMark struct {
	mark int64
	// before is the mark of the batch before.
	before   int64
	requests int // that began since the last batch
	stays    bool
}

func newWatermarks(start int64) *watermarks {
	return &watermarks{start: start, models: map[string]*modelMark{}}
}

// begin notes that a request is about to be sent, at a position of the store
// that was read before.
func (w *watermarks) begin(position int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.requests == 0 {
		w.start = position
	}
	for _, m := range w.models {
		m.requests++
		if m.requests > 1 || w.inFlight > 0 {
			m.stays = true
		}
		if !m.stays {
			m.mark = position
		}
	}
	w.requests++
	w.inFlight++
}

// end notes that a request has completed, or failed.
func (w *watermarks) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight--
}

// batch returns the mark for a batch of model.
func (w *watermarks) batch(model string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.models[model]
	if m == nil {
		m = &modelMark{mark: w.start, before: w.start, stays: w.requests > 1}
		w.models[model] = m
	}
	if w.inFlight > 0 {
		// The batch is not what is being fetched, but of a page before it.
		m.mark, m.stays = m.before, true
	}
	m.before, m.requests = m.mark, 0
	return m.mark
}
