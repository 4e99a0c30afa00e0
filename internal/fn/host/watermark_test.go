package host

import "testing"

// Each story is a sequence of steps: "r" a request begins, "d" one is done,
// "w" someone else writes to the cache, "A" and "B" a batch of that model is
// saved. want lists the mark of each batch; the position begins at 0 and each
// "w" moves it by one.
func TestWatermarks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, steps string
		want        []int64
	}{
		{"without a request the mark is the start", "wwA", []int64{0}},
		{"the first request sets the mark", "wrdwA", []int64{1}},
		{"a page loop moves the mark to each page's request", "rdwA wrdwA wrdA", []int64{0, 2, 4}},
		{"a page loop of two models moves both", "rdAB wrdwAB", []int64{0, 0, 1, 1}},
		{"two batches of one response share its mark", "wrdwA wA", []int64{1, 1}},
		{"two batches of a page do not make up for one that is held back", "rdAA wrd wrdA A", []int64{0, 0, 1, 1}},
		{"nor when there are as many batches as requests", "rd wrd AA wrdA", []int64{0, 0, 0}},
		{"nor with one page ahead and two batches for each", "rd wrd AA wrd AA wrd AA", []int64{0, 0, 0, 0, 0, 0}},
		{"nor when the pages overlapped later", "rdA wrrddAA wrdA", []int64{0, 1, 1, 1}},
		{"the rest of a page that is saved while the next is fetched keeps its mark", "rdA wr A dA wrdA", []int64{0, 0, 0, 0}},
		{"a page loop with two batches for each page moves on", "rdAA wrdAA wrdA", []int64{0, 0, 1, 1, 2}},
		{"fetching all pages before saving keeps the first mark", "rd wrd wrd A A A", []int64{0, 0, 0}},
		{"prefetching the next page keeps the mark", "rd wrd A wrd A A", []int64{0, 0, 0}},
		{"overlapping requests keep the mark", "wrr wdd A wrd A", []int64{1, 1}},
		{"a request in flight over a batch keeps the mark", "rdr A wr dd A", []int64{0, 0}},
		{"detail calls keep the mark", "rd wrd wrd A wrd wrd A", []int64{0, 0}},
		{"an empty page that is not saved keeps the mark from then on", "rdA wrd wrdA", []int64{0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWatermarks(0)
			var position int64
			var got []int64
			for _, step := range c.steps {
				switch step {
				case 'r':
					w.begin(position)
				case 'd':
					w.end()
				case 'w':
					position++
				case 'A', 'B':
					got = append(got, w.batch(string(step)))
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("%d batches, want %d", len(got), len(c.want))
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Fatalf("marks %v, want %v", got, c.want)
				}
			}
		})
	}
}
